"""What a person states of a model that is packed, and how it is compared with what the file shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.weights import WeightsCard
from teacher_service.models.packing.class_names import numbered
from teacher_service.models.packing.preprocessing import Preprocessing, Size

_COLOUR_THEN_GREY: Final = (3, 1)
"""The channels that are tried where neither the person nor the file states them."""
_OPTION: Final = {"num_classes": "--num-classes", "in_channels": "--in-channels"}


class NothingStated(ValueError):
    """Neither the file nor the person states a number that is needed."""


@dataclass(frozen=True)
class PackRequest:
    """The model's file, and what the file does not say; None for what is not stated."""

    source: Path
    network: str | None = None
    class_names: tuple[str, ...] | None = None
    preprocessing: Preprocessing = Preprocessing()
    num_classes: int | None = None
    in_channels: int | None = None
    trust_code: bool = False
    """Whether the code of an archive may run."""
    trust_pickle: bool = False
    """Whether a pickled file may run code."""

    def classes(self, in_file: int | None) -> int:
        """The number of classes, from the file, the option and the names.

        Raises:
            ValueError: they differ, or there are none.
        """
        names = None if self.class_names is None else len(self.class_names)
        return self._agreed("num_classes", {"--num-classes": self.num_classes, "--class-names": names}, in_file)

    def channels(self, in_file: int | None) -> int:
        """The number of channels, from the file, the option, mean and standard deviation.

        Raises:
            ValueError: they differ, or there are none.
        """
        values = {"--mean": self.preprocessing.mean, "--std": self.preprocessing.std}
        stated = {option: len(given) for option, given in values.items() if given is not None and len(given) > 1}
        return self._agreed("in_channels", {"--in-channels": self.in_channels, **stated}, in_file)

    def image_shapes(self, channels: int | None, size: Size | None) -> list[tuple[int, int, int]]:
        """The shapes of images that the network may take: channels, height and width; one, if that is known.

        Args:
            channels: as the file states them.
            size: height and width that the network gets, as the file states them.

        Raises:
            ValueError: the file and the options differ, or neither has a size.
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
        """The card of the packed file.

        Args:
            network: the name in the card.
            classes: as the file shows them, and so are `channels` and `size`: height and width of the images.
            channels: see `classes`.
            size: see `classes`.
            provenance: of the card.

        Raises:
            ValueError: the file and the options differ, or neither has what the card needs.
        """
        num_classes, in_channels = self.classes(classes), self.channels(channels)
        mean, std = self.preprocessing.for_channels(in_channels)
        image_size = self._image_size(size)
        resize = self.preprocessing.resize
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

    def _image_size(self, in_file: Size | None) -> Size:
        size = self.preprocessing.image_size or in_file or self.preprocessing.usual_size
        if size is None:
            raise ValueError(
                "image_size: expected height and width of the images, as the file does not show them; state "
                "--image-size, such as 224 or 240x320"
            )
        return size

    def _agreed(self, what: str, stated: Mapping[str, int | None], in_file: int | None) -> int:
        counts = {f"the file {self.source}": in_file, **stated}
        given = {place: count for place, count in counts.items() if count is not None}
        if not given:
            raise NothingStated(f"{what}: expected a number, as the file does not show it; state {_OPTION[what]}")
        if len(set(given.values())) > 1:
            listed = ", ".join(f"{count} from {place}" for place, count in given.items())
            raise ValueError(f"{what}: expected one number, got {listed}; correct the wrong one")
        return next(iter(given.values()))
