"""What a model's pixels go through before it sees them: values that were fixed when it was trained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from shared.expectations import no_choice
from shared.networks.imagenet import IMAGENET_MEAN, IMAGENET_SIZE, IMAGENET_STD

_LARGEST_MEAN: Final = 1.0
"""On either side of 0. Pixels from 0 to 1 have no larger mean; on the scale from 0 to 255, almost all have."""
_LARGEST_STD: Final = 10.0
"""A larger one scales pixels from 0 to 1 down to less than a tenth, which no network expects. Small ones are kept:
1 / 255 is that of a network of pixels from 0 to 255."""

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Preprocessing:
    """The network sees `(pixel / 255 - mean) / std`, per channel; what is None is not stated."""

    mean: tuple[float, ...] | None = None
    """A value for each channel, or one for all."""
    std: tuple[float, ...] | None = None
    image_size: Size | None = None
    """Of the images that clients send."""
    resize: Size | None = None
    """What the network sees, where that is another size."""
    usual_size: Size | None = None
    """Of the images, where neither the person nor the model's file states one."""

    def changed(self, **stated: Any) -> "Preprocessing":
        """These values, with those in place that are not None."""
        return replace(self, **{name: value for name, value in stated.items() if value is not None})

    def for_channels(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel.

        Raises:
            ValueError: they are not stated, for another number of channels, or those of pixels from 0 to 255.
        """
        if self.mean is None or self.std is None:
            raise ValueError(
                "mean and std: expected the values that the network was trained with, got none; state --preprocessing "
                f"({', '.join(PRESETS)}), or --mean and --std"
            )
        _check_scale("mean", self.mean, _LARGEST_MEAN)
        _check_scale("std", self.std, _LARGEST_STD)
        return _repeated("mean", self.mean, channels), _repeated("std", self.std, channels)


NONE_STATED: Final = Preprocessing()
PRESETS: Final[Mapping[str, Preprocessing]] = {
    "imagenet": Preprocessing(IMAGENET_MEAN, IMAGENET_STD, usual_size=IMAGENET_SIZE),
    "zero-to-one": Preprocessing((0.0,), (1.0,)),
    "minus-one-to-one": Preprocessing((0.5,), (0.5,)),
}
"""By name: that of torchvision's classifiers, and two that only scale the pixels, to [0, 1] and to [-1, 1]."""


def preprocessing_of(given: "str | Preprocessing | Mapping[str, Any] | None") -> Preprocessing:
    """A preset by its name, or the values themselves; none stated for None.

    Raises:
        ValueError: no preset has this name, or the values have a name that is none of the fields of `Preprocessing`.
    """
    if given is None:
        return NONE_STATED
    if isinstance(given, Preprocessing):
        return given
    if isinstance(given, str):
        if given not in PRESETS:
            raise ValueError(f"preprocessing: {no_choice(given, PRESETS)}")
        return PRESETS[given]
    try:
        values = {name: _value(name, value) for name, value in given.items()}
        return Preprocessing(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"preprocessing: expected a mapping with mean, std, image_size and resize, got another ({error})"
        ) from error


def numbers(option: str, text: str) -> tuple[float, ...]:
    """The numbers of an option, separated by commas.

    Raises:
        ValueError: a part is no number.
    """
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise ValueError(f"{option}: expected numbers separated by commas, got {text!r}") from error


def size(option: str, text: str) -> Size:
    """Height and width from a text such as `224` or `240x320`.

    Raises:
        ValueError: it is no such text.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isascii() and part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"{option}: expected height x width in pixels, such as 224 or 240x320, got {text!r}")
    return int(parts[0]), int(parts[-1])


def _value(name: str, value: Any) -> Any:
    if name in ("image_size", "resize") and isinstance(value, int):
        return value, value
    if name in ("mean", "std") and isinstance(value, int | float):
        return (float(value),)
    return tuple(value) if value is not None else None


def _check_scale(name: str, values: Sequence[float], largest: float) -> None:
    if any(largest < abs(value) < math.inf for value in values):
        raise ValueError(
            f"{name}: expected values of pixels from 0 to 1, got {', '.join(f'{value:g}' for value in values)}; divide "
            "those of pixels from 0 to 255 by 255"
        )


def _repeated(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == 1:
        return tuple(values) * channels
    if len(values) != channels:
        raise ValueError(f"{name}: expected one value for each of {channels} channels, got {len(values)}")
    return tuple(values)
