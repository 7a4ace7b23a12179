"""Questions to a packed model before it is served: whether its answers are usable, and what it says of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from shared.weights import WeightsError
from teacher_service.models.base import Teacher

_TOLERANCE: Final = 0.01
"""Of the largest logit: what the arithmetic of another batch size may change. Training mode changes far more."""
_SUM_TOLERANCE: Final = 1e-3
"""How far from 1 a sum of probabilities may be, which were perhaps rounded to 16 bits."""
_SEED: Final = 0
_MODES: Final = {1: "L", 3: "RGB"}
_READ: Final = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""The modes of pictures that are read, as Pillow names them: 8 bits a channel, grey or colour."""


@dataclass(frozen=True)
class Answer:
    """A class and its probability."""

    name: str
    probability: float


def check_answers(teacher: Teacher, path: Path) -> None:
    """Ask a model for two drawn images, together and each alone.

    Raises:
        WeightsError: a logit is not finite, or depends on chance or on the other images of a batch, as it does in a
            network that was saved in training mode. Or all of them look like probabilities.
    """
    shape = (2, *teacher.image_shape)
    images = np.random.default_rng(_SEED).integers(0, 256, shape, dtype=np.uint8)
    together = teacher.predict(images)
    alone = np.concatenate([teacher.predict(images[:1]), teacher.predict(images[1:])])
    if not np.isfinite(together).all():
        raise WeightsError(
            f"{path}: expected finite logits, got others for drawn images; check the weights, and mean and std"
        )
    difference = float(np.abs(together - alone).max())
    if difference > _TOLERANCE * max(1.0, float(np.abs(together).max())):
        raise WeightsError(
            f"{path}: expected logits that depend on the image alone, got others in another batch (they differ by "
            f"{difference:.3g}); call network.eval() before the network is saved, or it answers as in training"
        )
    if (together >= 0).all() and (np.abs(together.sum(axis=1, dtype=np.float64) - 1) <= _SUM_TOLERANCE).all():
        raise WeightsError(
            f"{path}: expected logits, got outputs that look like probabilities (none is negative, and those of an "
            "image sum to 1); pack the network without its last softmax, because students learn from logits, and the "
            "service computes all other outputs from them"
        )


def top_classes(teacher: Teacher, image: Path, top: int) -> list[Answer]:
    """The most probable classes of a picture, the most probable first.

    The picture is read upright, with white where it is transparent, cut at its centre to the proportions of the model's
    images, and resized.

    Raises:
        ValueError: the file is no picture of 8 bits a channel, or the model takes neither grey nor colour images.
    """
    logits = teacher.predict(_pixels(image, teacher.image_shape))[0].astype(np.float64)
    odds = np.exp(logits - logits.max())
    probabilities = odds / odds.sum()
    order: Sequence[int] = np.argsort(-probabilities, kind="stable")[:top].tolist()
    return [Answer(teacher.card.class_names[index], float(probabilities[index])) for index in order]


def _pixels(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    channels, height, width = shape
    if channels not in _MODES:
        raise ValueError(f"try: expected a model of grey or colour images, got one of {channels} channels")
    try:
        with Image.open(path) as picture:
            if picture.mode not in _READ:
                raise ValueError(
                    f"try: expected a picture of 8 bits a channel, grey or colour, got {path} of mode {picture.mode}; "
                    "convert it"
                )
            upright = _on_white(ImageOps.exif_transpose(picture)).convert(_MODES[channels])
            fitted = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"try: expected a picture, got {path}, which cannot be read ({error})") from error
    return np.asarray(fitted).reshape(1, height, width, channels).transpose(0, 3, 1, 2).copy()


def _on_white(picture: Image.Image) -> Image.Image:
    """An opaque picture. The colours under transparent parts are hidden, and must not decide a class."""
    if not picture.has_transparency_data:
        return picture
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
