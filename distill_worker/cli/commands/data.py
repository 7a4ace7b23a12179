"""The commands of `distill-worker data`: show, verify and delete decoded images."""

import json
from pathlib import Path
from typing import Annotated

import typer

from distill_worker.cli.examples import ending, examples
from distill_worker.cli.options import AsJson, expanded_path

app = typer.Typer(
    no_args_is_help=True,
    help="Show, verify and delete the decoded images of your own folders. They can always be made again.",
    epilog=ending("distill-worker data show", "distill-worker data prune"),
)

Stores = Annotated[
    Path,
    typer.Option("--store", metavar="FOLDER", parser=expanded_path, help="The folder of all stores: data.store."),
]
DEFAULT = Path("runs/decoded")


@app.command()
@examples("distill-worker data show", "distill-worker data show --store runs/decoded --json")
def show(store: Stores = DEFAULT, as_json: AsJson = False) -> None:
    """List what is decoded, and the space that it takes."""
    from distill_worker.cli.tables.data import show_stores
    from distill_worker.data.pictures.upkeep import stores_in

    stores = stores_in(store)
    if as_json:
        print(json.dumps([one.facts() for one in stores]))
    else:
        show_stores(stores)


@app.command()
@examples("distill-worker data verify")
def verify(store: Stores = DEFAULT) -> None:
    """Read every image file again, and compare it with what is kept of it.

    Other commands read a file again only if its size or time of change is another. What differs is decoded again by the
    next command that needs it. Exit status 6 if anything does.
    """
    from distill_worker.cli.console import progress_bar
    from distill_worker.cli.tables.data import show_verified
    from distill_worker.data.pictures.upkeep import stores_in
    from distill_worker.data.pictures.upkeep import verify as verified
    from distill_worker.errors import CheckFailed, counted

    damaged = 0
    for one in stores_in(store):
        with progress_bar(f"verifying {one.data}", one.images) as move:
            result = verified(one, move)
        show_verified(one, result)
        damaged += len(result.damaged)
    if damaged:
        raise CheckFailed(
            f"data.store: {counted(damaged, 'image')} did not match what is kept; the next command decodes them again"
        )


@app.command()
@examples("distill-worker data prune", "distill-worker data prune --all")
def prune(
    store: Stores = DEFAULT,
    everything: Annotated[
        bool, typer.Option("--all", help="Delete all of them, not only those whose folder is gone.")
    ] = False,
) -> None:
    """Delete the decoded images of folders that are gone. Commands that need them decode them again."""
    from distill_worker.cli.tables.data import show_stores
    from distill_worker.data.pictures.upkeep import prune as pruned

    show_stores(pruned(store, needed_too=everything))
