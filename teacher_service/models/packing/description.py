"""What a person states of a model, and how it is compared with what the model itself shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from shared.expectations import complaints
from shared.weights import WeightsCard
from teacher_service.models.packing.class_names import numbered
from teacher_service.models.packing.preprocessing import NONE_STATED, Preprocessing, Size

_COLOUR_THEN_GREY: Final = (3, 1)
"""The channels that are tried where neither the person nor the model states them."""

Shape = tuple[int, int, int]
"""Channels, height and width of what a network gets."""


class NothingStated(ValueError):
    """Neither the model nor the person states a number that is needed."""


@dataclass(frozen=True)
class Description:
    """What the model does not say; None for what is not stated."""

    origin: str
    """What the model is from, for messages, such as a file."""
    class_names: tuple[str, ...] | None = None
    preprocessing: Preprocessing = NONE_STATED
    num_classes: int | None = None
    in_channels: int | None = None

    def classes(self, in_model: int | None) -> int:
        """The number of classes, from the model, the statement and the names.

        Raises:
            ValueError: they differ, or there are none.
        """
        names = None if self.class_names is None else len(self.class_names)
        return self._agreed("num_classes", {"num_classes": self.num_classes, "class_names": names}, in_model)

    def channels(self, in_model: int | None) -> int:
        """The number of channels, from the model, the statement, mean and standard deviation.

        Raises:
            ValueError: they differ, or there are none.
        """
        values = {"mean": self.preprocessing.mean, "std": self.preprocessing.std}
        stated = {name: len(given) for name, given in values.items() if given is not None and len(given) > 1}
        return self._agreed("in_channels", {"in_channels": self.in_channels, **stated}, in_model)

    def image_shapes(self, channels: int | None, size: Size | None) -> list[Shape]:
        """The shapes of images that the network may take: channels, height and width; one, if that is known.

        Args:
            channels: as the model states them.
            size: height and width that the network gets, as the model states them.

        Raises:
            ValueError: the model and the statements differ, or neither has a size.
        """
        height, width = self.preprocessing.resize or self._image_size(size)
        try:
            known = [self.channels(channels)]
        except NothingStated:
            known = [*_COLOUR_THEN_GREY]
        return [(count, height, width) for count in known]

    def card(
        self,
        network: str,
        *,
        classes: int | None,
        channels: int | None,
        size: Size | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> WeightsCard:
        """The card of the model.

        Args:
            network: the name in the card.
            classes: as the model shows them, and so are `channels` and `size`: height and width of the images.
            channels: see `classes`.
            size: see `classes`.
            provenance: of the card.

        Raises:
            ValueError: the model and the statements differ, or neither has what the card needs.
        """
        num_classes, in_channels = self.classes(classes), self.channels(channels)
        mean, std = self.preprocessing.for_channels(in_channels)
        image_size = self._image_size(size)
        resize = self.preprocessing.resize
        try:
            return WeightsCard(
                network=network,
                num_classes=num_classes,
                in_channels=in_channels,
                image_size=image_size,
                resize=None if resize == image_size else resize,
                mean=mean,
                std=std,
                class_names=numbered(num_classes) if self.class_names is None else self.class_names,
                provenance={**(provenance or {})},
            )
        except ValidationError as error:
            raise ValueError(f"{self.origin}: {complaints(error)}") from error

    def _image_size(self, in_model: Size | None) -> Size:
        size = self.preprocessing.image_size or in_model or self.preprocessing.usual_size
        if size is None:
            raise ValueError(
                f"image_size: expected height and width of the images, as {self.origin} does not show them; state "
                "image_size, such as 224 or 240x320"
            )
        return size

    def _agreed(self, what: str, stated: Mapping[str, int | None], in_model: int | None) -> int:
        counts = {self.origin: in_model, **stated}
        given = {place: count for place, count in counts.items() if count is not None}
        if not given:
            raise NothingStated(f"{what}: expected a number, as {self.origin} does not show it; state {what}")
        if len(set(given.values())) > 1:
            listed = ", ".join(f"{count} from {place}" for place, count in given.items())
            raise ValueError(f"{what}: expected one number, got {listed}; correct the wrong one")
        return next(iter(given.values()))


def first_that_runs(shapes: Sequence[Shape], classes_for: Callable[[Shape], int]) -> tuple[Shape, int]:
    """The first shape with which a model runs, and its number of classes.

    Raises:
        ValueError: it runs with none of them; the error is that of the first.
    """
    errors = list[ValueError]()
    for shape in shapes:
        try:
            return shape, classes_for(shape)
        except ValueError as error:
            errors.append(error)
    raise errors[0]
