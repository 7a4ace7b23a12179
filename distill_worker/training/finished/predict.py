"""The most probable classes of a user's pictures, as a trained network sees them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from distill_worker.data.datasets.class_folders import image_files, skipped_files
from distill_worker.data.pictures.conversion import MODES, Shape
from distill_worker.data.pictures.reading import Picture, heads, read_pictures
from distill_worker.errors import ConfigError, DataError, WeightsFileError, counted
from distill_worker.training.finished.images import rules_of
from distill_worker.training.finished.student import FinishedStudent
from shared.degradation import degrade
from shared.networks.draws import draws_from

_BATCH_SIZE: Final = 100
_SEED: Final = 0
"""For the networks that draw even in evaluation mode."""
_WHERE: Final = "predict"


@dataclass(frozen=True)
class Class:
    """A class and its probability."""

    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one picture, the most probable first."""

    image: str
    """The path of the file."""
    top: tuple[Class, ...]


def pictures_in(paths: Sequence[Path], *, note: Callable[[str], None]) -> list[Picture]:
    """The pictures at these paths: a folder stands for the image files in it and below it, in the order of their names.

    Args:
        paths: files and folders.
        note: shows how many other files the folders hold.

    Raises:
        DataError: names the paths that do not exist, or a folder without image files.
    """
    if absent := [str(path) for path in paths if not path.exists()]:
        raise DataError(f"{_WHERE}: expected image files and folders, got none at {', '.join(absent)}")
    files, skipped = list[str](), Counter[str]()
    for path in paths:
        in_folder, others = image_files(path) if path.is_dir() else ([str(path)], Counter[str]())
        if not in_folder:
            raise DataError(f"{_WHERE}: expected image files in the folder {path}, got none")
        files += in_folder
        skipped.update(others)
    if skipped:
        note(skipped_files(skipped))
    return [Picture.at(path) for path in files]


def predictions(
    student: FinishedStudent, pictures: Sequence[Picture], *, top: int, note: Callable[[str], None]
) -> list[Prediction]:
    """The `top` classes of each picture, or all of them if there are fewer.

    Args:
        student: the network.
        pictures: of any size, grey or in colour; they become what the network takes, by the rules of its training.
        top: at least 1.
        note: shows how many pictures were resized, or lost their colour.

    Raises:
        ConfigError: the network takes neither grey nor colour images.
        DataError: names the pictures that cannot be read.
        WeightsFileError: a logit is not finite.
    """
    rules = rules_of(student.card)
    images = _pixels(student, [replace(picture, rules=rules) for picture in pictures], note)
    probabilities = torch.from_numpy(_logits(student, images)).double().softmax(dim=1)
    if not probabilities.isfinite().all():
        raise WeightsFileError(f"{student.weights}: expected finite logits, got others; the training has diverged")
    ranked = probabilities.sort(dim=1, descending=True, stable=True)
    names = student.card.class_names
    return [
        Prediction(picture.name, tuple(Class(names[index], value) for index, value in zip(*row, strict=True)))
        for picture, *row in zip(
            pictures, ranked.indices[:, :top].tolist(), ranked.values[:, :top].tolist(), strict=True
        )
    ]


def _pixels(student: FinishedStudent, pictures: Sequence[Picture], note: Callable[[str], None]) -> NDArray[np.uint8]:
    """uint8 `[pictures, channels, height, width]`, as the data set image-folder reads files."""
    channels, height, width = student.image_shape
    if channels not in MODES:
        raise ConfigError(
            f"{student.weights}: expected a network of grey or colour images (1 or 3 channels), got one of {channels} "
            "channels, which no image file has"
        )
    read = heads(pictures, where=_WHERE)
    if resized := sum(head.size != (height, width) for head in read):
        note(
            f"{counted(resized, 'image')} resized to {height}x{width} (height x width), the size that the student takes"
        )
    if greyed := sum(channels == 1 and not head.is_grey for head in read):
        note(f"{counted(greyed, 'image')} changed from colour to grey, which the student takes")
    return read_pictures(pictures, Shape(MODES[channels], height, width), where=_WHERE)


def _logits(student: FinishedStudent, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the service returns them: with the degradation that the card names."""
    parts = [torch.from_numpy(images[start : start + _BATCH_SIZE]) for start in range(0, len(images), _BATCH_SIZE)]
    device = next((values.device for values in student.network.parameters()), torch.device("cpu"))
    with draws_from(_SEED), torch.inference_mode():
        rows = [student.logits(student.inputs(part.to(device))).cpu() for part in parts]
    logits: NDArray[np.float32] = torch.cat(rows).numpy()
    return logits if student.card.degradation is None else degrade(logits, images, student.card.degradation)
