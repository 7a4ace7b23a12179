"""The commands on a weights file: `evaluate` and `degrade`."""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer

from distill_worker.cli.console import say
from distill_worker.cli.options import AsJson, TrustCode, expanded_path
from distill_worker.data.class_names import class_order
from distill_worker.data.datasets import load_dataset
from distill_worker.errors import ConfigError, WeightsFileError
from distill_worker.experiments.degrade import degrade_weights
from distill_worker.training.evaluate import count_correct
from shared.degradation import Degradation
from shared.networks.outputs import check_network
from shared.weights import WeightsError, load_weights


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
    try:
        card, network, fingerprint = load_weights(weights, trust_code=trust_code)
        check_network(network, (card.in_channels, *(card.resize or card.image_size)), card.num_classes)
    except WeightsError as error:
        raise WeightsFileError(str(error)) from error
    except ValueError as error:
        raise WeightsFileError(f"{weights}: {error}") from error
    name = data or str(card.provenance.get("data", ""))
    size = card.image_size if name in ("image-folder", "hugging-face") else None
    dataset = load_dataset(name, root, path=path, image_size=size)
    expected, got = (card.in_channels, *card.image_size), dataset.image_shape
    if got != expected or len(dataset.class_names) != card.num_classes:
        raise ConfigError(
            f"data: expected images of shape {list(expected)} in {card.num_classes} classes, as this network takes "
            f"them, got {list(got)} in {len(dataset.class_names)} from {dataset.name}; name another data set by --data"
        )
    order = class_order(
        dataset.class_names,
        card.class_names,
        network="the network",
        remedy="rename the classes of the data as the network names them, or name another data set by --data",
        is_named=dataset.classes_are_named,
    )
    for line in dataset.notes:
        say(line)
    if order is not None:
        say("data: the network lists the same classes in another order; its answers are mapped by name")
    test = dataset.test
    correct = count_correct(
        network,
        test.images,
        test.labels if order is None else torch.tensor(order)[test.labels],
        mean=card.mean,
        std=card.std,
        resize=card.resize,
        degradation=card.degradation,
    )
    total = len(test.labels)
    facts = {"data": dataset.name, "accuracy": correct / total, "correct": correct, "test_samples": total}
    if as_json:
        print(json.dumps({"fingerprint": fingerprint, **facts}))
    else:
        print(f"{card.network} ({fingerprint}) on {dataset.name}: {correct / total:.2%}, {correct} of {total}")


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
    degradation = Degradation(noise=noise, decimals=decimals, seed=seed)
    fingerprint = degrade_weights(
        weights,
        output,
        prune=prune,
        degradation=None if degradation == Degradation(seed=seed) else degradation,
        trust_code=trust_code,
    )
    print(f"{output} ({fingerprint})")
