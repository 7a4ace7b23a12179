"""Images for a trained network: of its data set, or drawn where that is not at hand."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from distill_worker.data.datasets import has_files, load_dataset
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.pictures.rules import FIRST, NEWEST, Rules
from distill_worker.errors import ConfigError, DataError
from shared.weights import WeightsCard

_COMPARED: Final = 32


@dataclass(frozen=True)
class Images:
    """Images, and where they are from."""

    pixels: Tensor
    """uint8 `[images, channels, height, width]`."""
    origin: str
    """In words, for example "32 test images of digits"."""


def dataset_for(card: WeightsCard, name: str, *, root: Path, path: Path | None) -> Dataset:
    """The data set of this name, whose images and number of classes are those of the network.

    Raises:
        ConfigError: they are others, or as `load_dataset`.
        DataError: as `load_dataset`.
    """
    image_size = card.image_size if has_files(name) else None  # they may be of any size
    dataset = load_dataset(name, root, path=path, image_size=image_size, rules=rules_of(card))
    expected, got = (card.in_channels, *card.image_size), dataset.image_shape
    if got != expected or len(dataset.class_names) != card.num_classes:
        raise ConfigError(
            f"data: expected images of shape {list(expected)} in {card.num_classes} classes, as this network takes "
            f"them, got {list(got)} in {len(dataset.class_names)} from {dataset.name}; name another data set by --data"
        )
    return dataset


def rules_of(card: WeightsCard) -> Rules:
    """The rules by which the network's own pictures became pixels; the newest for one that had none."""
    name = str(card.provenance.get("data"))
    began_before = has_files(name)
    rules = card.provenance.get("picture_rules", FIRST if began_before else NEWEST)
    return FIRST if rules == FIRST else NEWEST


def images_to_compare(card: WeightsCard, *, root: Path, path: Path | None, note: Callable[[str], None]) -> Images:
    """Some test images of the data set that the network was trained on, from all of it; or drawn ones.

    Args:
        card: the description of the network; it names the data set.
        root: the folder of the public data sets.
        path: the file or folder of the user's own data.
        note: shows why images are drawn.

    Raises:
        ConfigError, DataError: `path` is given, and does not hold such images.
    """
    name = str(card.provenance.get("data") or "")
    try:
        test = dataset_for(card, name, root=root, path=path).test.images
    except (ConfigError, DataError) as error:
        if path is not None:
            raise
        if name:
            note(
                f"the data set {name} is not at hand, so drawn images are compared ({error}); to compare its test "
                "images, name its file or folder by --path, or the folder of the data sets by --root"
            )
        return Images(_drawn(card), f"{_COMPARED} drawn images")
    pixels = test[:: max(1, len(test) // _COMPARED)][:_COMPARED]
    return Images(pixels, f"{len(pixels)} test images of {name}")


def _drawn(card: WeightsCard) -> Tensor:
    """Pixels with the mean and deviation of the training images, because others may give logits far from theirs."""
    shape = (_COMPARED, card.in_channels, *card.image_size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (card.mean, card.std))
    return ((mean + std * noise) * 255).round().clamp(0, 255).to(torch.uint8)
