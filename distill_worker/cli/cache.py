"""`distill-worker cache`: what was bought, whether it is whole, and sharing it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from distill_worker.cache import Cache
from distill_worker.cache.exchange.export_import import export as export_file
from distill_worker.cache.exchange.export_import import import_file
from distill_worker.cache.summary import statistics
from distill_worker.cache.verify import verify as verify_cache
from distill_worker.cli.console import progress_bar
from distill_worker.cli.options import AsJson
from distill_worker.cli.tables_buying import show_damages, show_statistics
from distill_worker.config.load import load_config
from distill_worker.errors import CacheError
from distill_worker.runs.samples import Samples

app = typer.Typer(no_args_is_help=True, help="What was bought: see it, check it, and share it. Spends nothing.")

Place = Annotated[str, typer.Argument(metavar="CACHE", help="A SQLite file, or the URL of a PostgreSQL database.")]
DEFAULT = "runs/cache.sqlite"


@app.command()
def stats(cache: Place = DEFAULT, as_json: AsJson = False) -> None:
    """Samples by teacher and kind of output, purchases by their state."""
    with _opened(cache) as opened:
        found = statistics(opened)
    if as_json:
        print(json.dumps(found.facts()))
    else:
        show_statistics(found)


@app.command()
def verify(
    cache: Place = DEFAULT,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", metavar="CONFIG.toml", help="Derive the sample keys of this run's data set anew."),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move aside what is damaged; nothing is deleted, and it is bought again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at every output again: lengths, finiteness, checksums, and whether purchases have what they paid for.

    Exit status 2 when anything is damaged and was not moved aside.
    """
    known = None
    if config_file is not None:
        known = Samples.of(load_config(config_file, ())).images_by_key().keys()
    with _opened(cache) as opened, progress_bar("looking") as move:
        found = verify_cache(
            opened, known_keys=known, repair=repair, progress=lambda done, blocks: move(done, "blocks", blocks)
        )
    if as_json:
        print(json.dumps(found.facts()))
    else:
        show_damages(found)
        print(f"{found.outputs} outputs are whole, {sum(damage.rows for damage in found.damages)} are damaged")
        if known is not None:
            print(f"{found.strangers} are of samples that the data set has not")
        if repair:
            print(f"{found.repaired} were moved aside")
    if found.damages and not repair:
        raise CacheError(f"{opened.place}: outputs are damaged; move them aside with --repair, and buy them again")


@app.command("export")
def export_(
    file: Annotated[Path, typer.Argument(help="The file to write, .safetensors or .parquet; it must not exist.")],
    cache: Annotated[str, typer.Option(metavar="CACHE", help="Where from.")] = DEFAULT,
    teacher_id: Annotated[str | None, typer.Option(help="Of this teacher alone.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of this kind alone, for example logits.")] = None,
) -> None:
    """Write what was bought to a file that others can import; the account that paid is not told."""
    with _opened(cache) as opened:
        print(f"{export_file(opened, file, teacher_id=teacher_id, kind=kind)} outputs are in {file}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A file that `cache export` wrote.")],
    cache: Annotated[str, typer.Option(metavar="CACHE", help="Where to.")] = DEFAULT,
) -> None:
    """Add what others bought; what is held already stays as it is."""
    if not file.is_file():
        raise CacheError(f"{file}: there is no such file")
    with Cache(_place(cache)) as opened:
        added, read = import_file(opened, file)
        print(f"{added} of {read} outputs are new in {opened.place}")


def _opened(cache: str) -> Cache:
    """A cache that is there: asking after one makes none."""
    place = _place(cache)
    if isinstance(place, Path) and not place.exists():
        raise CacheError(f"{place}: there is no such cache; `distill-worker fetch` makes it")
    return Cache(place)


def _place(cache: str) -> Path | str:
    return cache if "://" in cache else Path(cache)
