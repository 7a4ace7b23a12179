"""The commands on a weights file: `evaluate` and `degrade`."""

from pathlib import Path
from typing import Annotated

import typer

from distill_worker.cli.options import AsJson, TrustCode, expanded_path


def evaluate(
    weights: Annotated[
        Path,
        typer.Argument(
            parser=expanded_path, metavar="WEIGHTS", help="A weights file, for example runs/.../student.safetensors."
        ),
    ],
    data: Annotated[
        str | None, typer.Option(help="The data set; by default the one that the network was trained on.")
    ] = None,
    root: Annotated[Path, typer.Option(parser=expanded_path, metavar="FOLDER", help="Folder of the data sets.")] = Path(
        "data"
    ),
    path: Annotated[
        Path | None, typer.Option(parser=expanded_path, metavar="PATH", help="File or folder of your own data.")
    ] = None,
    trust_code: TrustCode = False,
    as_json: AsJson = False,
) -> None:
    """Print the top-1 accuracy of a trained network on the test split."""
    from distill_worker.cli.weights import evaluate

    evaluate(weights, data, root=root, path=path, trust_code=trust_code, as_json=as_json)


def degrade(
    weights: Annotated[Path, typer.Argument(parser=expanded_path, metavar="WEIGHTS", help="A weights file.")],
    output: Annotated[
        Path, typer.Argument(parser=expanded_path, metavar="OUTPUT", help="The file to write; it must not exist.")
    ],
    prune: Annotated[float, typer.Option(min=0, max=1, help="Share of the smallest weights that become 0.")] = 0.0,
    noise: Annotated[float, typer.Option(min=0, help="Standard deviation of noise on the logits.")] = 0.0,
    decimals: Annotated[int | None, typer.Option(min=0, max=6, help="Decimals that logits are rounded to.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise; one image always gets the same noise.")] = 0,
    trust_code: TrustCode = False,
) -> None:
    """Make a worse teacher, to measure how much a method depends on the teacher; serve the file like any other.

    For a half-trained teacher, set training.stop_after_steps.
    """
    from distill_worker.cli.weights import degrade

    degrade(weights, output, prune=prune, noise=noise, decimals=decimals, seed=seed, trust_code=trust_code)
