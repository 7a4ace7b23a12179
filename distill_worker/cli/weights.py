"""What `evaluate` and `degrade` do with a weights file."""

import json
from pathlib import Path

import torch

from distill_worker.cli.console import say
from distill_worker.data.class_names import class_order
from distill_worker.data.datasets import load_dataset
from distill_worker.errors import ConfigError, WeightsFileError
from distill_worker.experiments.degrade import degrade_weights
from distill_worker.training.evaluate import count_correct
from shared.degradation import Degradation
from shared.networks.outputs import check_network
from shared.weights import WeightsError, load_weights


def evaluate(
    weights: Path, data: str | None, *, root: Path, path: Path | None, trust_code: bool, as_json: bool
) -> None:
    """Print the top-1 accuracy of a trained network on the test split of a data set."""
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
    weights: Path, output: Path, *, prune: float, noise: float, decimals: int | None, seed: int, trust_code: bool
) -> None:
    """Write a worse copy of a teacher."""
    degradation = Degradation(noise=noise, decimals=decimals, seed=seed)
    fingerprint = degrade_weights(
        weights,
        output,
        prune=prune,
        degradation=None if degradation == Degradation(seed=seed) else degradation,
        trust_code=trust_code,
    )
    print(f"{output} ({fingerprint})")
