"""The commands that list what a run can name: `methods`, `strategies`, `datasets`, `networks`."""

from pathlib import Path
from typing import Annotated

import typer

from distill_worker.cli.examples import examples
from distill_worker.cli.options import AsJson, expanded_path


@examples("distill-worker methods", "distill-worker methods --json")
def methods(as_json: AsJson = False) -> None:
    """List the methods: what each needs and its source; --json adds the default parameters."""
    from distill_worker.cli.tables import lists

    lists.methods(as_json=as_json)


@examples("distill-worker strategies")
def strategies(as_json: AsJson = False) -> None:
    """List the strategies that select samples (budget.strategy): what each needs and its source."""
    from distill_worker.cli.tables import lists

    lists.strategies(as_json=as_json)


@examples("distill-worker datasets")
def datasets(as_json: AsJson = False) -> None:
    """List the data sets, and the formats of your own data that can be read."""
    from distill_worker.cli.tables import lists

    lists.datasets(as_json=as_json)


@examples(
    "distill-worker networks",
    "distill-worker networks --image-size 28x28 --classes 10 --channels 1",
    "distill-worker networks --data cifar100 --root ~/data --all",
)
def networks(
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|NAME", help="Count for this data set, or for your own data; list the networks that take it."
        ),
    ] = None,
    root: Annotated[
        Path, typer.Option(parser=expanded_path, metavar="FOLDER", help="Folder of the public data sets.")
    ] = Path("data"),
    image_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="List the networks that take this height and width, such as 32 or 28x32."),
    ] = None,
    classes: Annotated[int, typer.Option(min=2, help="Count the parameters for so many classes.")] = 10,
    channels: Annotated[int, typer.Option(min=1, help="Count for images of so many channels.")] = 3,
    everything: Annotated[bool, typer.Option("--all", help="Also list the classifiers of torchvision.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the networks that a student can be: family, parameters, smallest image.

    Each network is built without memory for its weights, and tried on images of growing size.
    """
    from distill_worker.cli.actions.networks import networks

    networks(
        data,
        root=root,
        image_size=image_size,
        classes=classes,
        channels=channels,
        everything=everything,
        as_json=as_json,
    )
