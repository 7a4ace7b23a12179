"""`load`: a trained student as a module that takes images, with the preprocessing of its training."""

import io
import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from distill_worker.api.images import pixels_from
from distill_worker.api.stated import absolute
from distill_worker.cli.console import say
from distill_worker.data.pictures.reading import Picture
from distill_worker.data.pictures.rules import FIRST
from distill_worker.errors import DataError, WeightsFileError
from distill_worker.training.finished.images import rules_of
from distill_worker.training.finished.predict import Class, pictures_in, predictions
from distill_worker.training.finished.student import FinishedStudent, load_student
from shared.networks.given import given, name_of
from shared.networks.outputs import evaluating, logits_of
from shared.normalise import normalise
from shared.weights import WeightsCard

__all__ = ["Class", "Model", "load"]

OneImage = str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor
"""A path; a picture; or an array or tensor `[height, width]`, `[height, width, channels]` or `[channels, height,
width]`, uint8 or multiples of 1/255 from 0 to 1."""
_PIXEL_VALUES: Final = 255.0


class Model(nn.Module):
    """A trained student. It takes images, not normalised, and returns logits; it begins in evaluation mode.

    `network` is the network without the preprocessing.
    """

    def __init__(self, student: FinishedStudent) -> None:
        """Wrap the network of a finished student."""
        super().__init__()
        self.network = student.network
        self.card: WeightsCard = student.card
        self._student = student
        self.eval()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the logits."""
        return self.card.class_names

    @property
    def fingerprint(self) -> str:
        """The version of the student, which changes with its weights, classes and preprocessing."""
        return self._student.fingerprint

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images that it takes."""
        return self._student.image_shape

    def forward(self, images: Tensor) -> Tensor:
        """The logits, float `[batch, classes]`.

        Args:
            images: `[batch, channels, height, width]`, uint8 from 0 to 255, or floats from 0 to 1.

        Raises:
            ValueError: another shape or type.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(
                f"images: expected {['batch', *self.image_shape]}, got {list(images.shape)}; `predict` resizes pictures"
            )
        if images.is_floating_point():
            images = images * _PIXEL_VALUES
        elif images.dtype != torch.uint8:
            raise ValueError(f"images: expected uint8 from 0 to 255, or floats from 0 to 1, got {images.dtype}")
        logits: Tensor = logits_of(
            self.network(normalise(images, self.card.mean, self.card.std, size=self.card.resize))
        )
        return logits

    @overload
    def predict(self, images: OneImage, *, top: int | None = None) -> tuple[Class, ...]: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, images: Sequence[OneImage], *, top: int | None = None) -> list[tuple[Class, ...]]: ...
    def predict(
        self, images: OneImage | Sequence[OneImage], *, top: int | None = None
    ) -> tuple[Class, ...] | list[tuple[Class, ...]]:
        """The classes of an image with their probabilities, the most probable first; of a list, one such row for each.

        Images of another size are resized, and colours become grey where the student takes grey.

        Args:
            images: paths of files, pictures (PIL), or arrays or tensors of one image each.
            top: how many classes; all by default.

        Raises:
            DataError: an image cannot be read; WeightsFileError: the student's logits are not finite.
        """
        one = isinstance(images, str | os.PathLike | Image.Image | np.ndarray | Tensor)
        each: Sequence[OneImage] = [images] if one else images  # type: ignore[list-item, assignment]
        if not each:
            return []
        pictures = [self._picture(image, place) for place, image in enumerate(each)]
        with evaluating(self.network):
            predicted = predictions(self._student, pictures, top=top or len(self.class_names), note=lambda _line: None)
        rows = [one_image.top for one_image in predicted]
        return rows[0] if one else rows

    def _picture(self, image: OneImage, place: int) -> Picture:
        if isinstance(image, str | os.PathLike):
            return pictures_in([absolute(image)], note=say)[0]
        name = f"image {place}"
        if isinstance(image, np.ndarray | Tensor):
            image = _picture_of(image, name)
        if not isinstance(image, Image.Image):
            raise DataError(
                f"{name}: expected a path, a picture (PIL), an array or a tensor, got {type(image).__name__}"
            )
        if rules_of(self.card) != FIRST:  # the orientation is not stored with the pixels
            image = ImageOps.exif_transpose(image)
        encoded = io.BytesIO()
        try:
            image.save(encoded, "PNG" if image.mode in _MODES_OF_PNG else "TIFF")
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{name}: cannot be read ({error}); convert it to RGB") from error
        return Picture(name, partial(io.BytesIO, encoded.getvalue()))


_MODES_OF_PNG: Final = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def load(path: str | os.PathLike[str], network: nn.Module | str | None = None, *, trust_code: bool = False) -> Model:
    """Read a trained student.

    Args:
        path: a weights file (student.safetensors), or the directory of a finished run.
        network: for a student that was trained from a module in Python: a module of the same class and size, which is
            copied. Or the name of a network, for a file whose network is a factory that is now in another place.
        trust_code: run the code that the file names as its network.

    Returns:
        A module that takes images and returns logits, in evaluation mode, on the CPU.

    Raises:
        WeightsFileError: the file is missing or damaged, does not fit the network, or names code that is not trusted.
        RunError: the folder holds no finished run.
    """
    place = absolute(path)
    if isinstance(network, nn.Module):
        return _with_module(place, network)
    return Model(load_student(place, trust_code=trust_code, network=network))


def _with_module(place: Path, network: nn.Module) -> Model:
    name = name_of(network, pretrained=False)
    with ExitStack() as stack:
        try:
            stack.enter_context(given(name, network))
        except ValueError as error:
            raise WeightsFileError(str(error)) from error
        return Model(load_student(place, network=name))


def _picture_of(image: NDArray[Any] | Tensor, name: str) -> Image.Image:
    values: NDArray[Any] = image.detach().cpu().numpy() if isinstance(image, Tensor) else image
    if values.ndim not in (2, 3):
        raise DataError(
            f"{name}: expected [height, width], [height, width, channels] or [channels, height, width], got "
            f"{list(values.shape)}; give several images as a list of them"
        )
    pixels = pixels_from(values[None], name)[0]
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
