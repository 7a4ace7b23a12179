"""Stores of decoded images as tables on standard output."""

from collections.abc import Sequence

from distill_worker.cli.console import answers
from distill_worker.cli.tables.rows import ROWS_SHOWN, print_rest, print_rows
from distill_worker.data.pictures.upkeep import StoreFacts, Verified
from distill_worker.errors import counted


def show_stores(stores: Sequence[StoreFacts]) -> None:
    """Print what each store holds."""
    if stores:
        print_rows(("images of", "count", "shape", "GB", "kept in"), [_row(store) for store in stores])
    total = sum(store.bytes for store in stores) / 1e9
    answers.print(f"{counted(len(stores), 'store')}, {total:.2f} GB", markup=False)


def show_verified(store: StoreFacts, result: Verified) -> None:
    """Print what a verification says of one store."""
    whole = counted(result.whole, "image")
    answers.print(f"{store.data}: whole: {whole}; damaged: {len(result.damaged)}", markup=False)
    for name in result.damaged[:ROWS_SHOWN]:
        answers.print(f"  {name}", markup=False)
    print_rest(len(result.damaged))


def _row(store: StoreFacts) -> tuple[str, ...]:
    shape = "none yet" if store.image_shape is None else "x".join(map(str, store.image_shape))
    data = str(store.data) if store.is_needed else f"{store.data} (gone)"
    return (data, f"{store.images:,}", shape, f"{store.bytes / 1e9:.2f}", str(store.folder))
