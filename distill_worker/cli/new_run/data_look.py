"""What data are, before a run on them is configured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distill_worker.cli.stated_run import kind_of
from distill_worker.config.data_sections import Data
from distill_worker.config.places import expanded
from distill_worker.config.stages.unlabelled import with_labels_off
from distill_worker.data.datasets import DATASETS, is_own, takes_class_names
from distill_worker.data.datasets.glance import glance
from distill_worker.errors import ConfigError
from distill_worker.runs.sampling.samples import loaded
from shared.expectations import did_you_mean

_FILES: Final = "image-folder"
_UNKNOWN: Final = ("unknown", "unknown, too")
"""Stand for the classes of a teacher, where the data have none."""


@dataclass(frozen=True)
class DataLook:
    """What a look at data shows."""

    data: Data
    """The section that names them."""
    images: int
    sizes: Sequence[tuple[int, int]]
    """Heights and widths, the most frequent first."""
    channels: int
    class_names: tuple[str, ...] | None
    """None if the images have no labels."""

    @property
    def size(self) -> tuple[int, int] | None:
        """The one size that all images have; None if they differ."""
        return self.sizes[0] if len(self.sizes) == 1 else None

    def in_words(self) -> str:
        """The data in one line."""
        height, width = self.sizes[0]
        size = f"{height} x {width}" if self.size else f"several sizes, such as {height} x {width} (height x width)"
        colour = {1: "grey", 3: "colour"}.get(self.channels, f"{self.channels} channels")
        classes = "without labels" if self.class_names is None else f"in {len(self.class_names)} classes"
        return f"{self.data.name}: {self.images:,} images {classes}, {colour}, {size}"


def section_of(text: str, *, root: Path) -> Data:
    """The section of data that a command line names: a public data set, or a path.

    Raises:
        ConfigError: there is neither such a data set nor such a path, or it is the name of a format.
    """
    if text in DATASETS and not Path(text).exists():
        if is_own(text):
            raise ConfigError(
                f"--data: expected the path of your data, got {text!r}, which is the name of their format"
            )
        return Data(name=text, root=root)
    path = expanded(text)
    if not path.exists():
        raise ConfigError(
            f"--data: expected a folder or file with your data, or a name of distill-worker datasets, got {text!r}, "
            f"which is neither{did_you_mean(text, DATASETS)}"
        )
    section: dict[str, Any] = {"name": kind_of(path), "path": path}
    return Data(**with_labels_off({"data": section})["data"])


def look_at(data: Data) -> DataLook:
    """Look at data. Of image files in folders and lists, no pixels are decoded.

    Raises:
        WorkerError: they cannot be read.
    """
    if data.name == _FILES and data.path is not None:
        seen = glance(data.path, has_labels=data.has_labels)
        return DataLook(data, seen.images, seen.sizes, seen.channels, seen.class_names)
    if not data.has_labels and takes_class_names(data.name):
        data = data.model_copy(update={"class_names": _UNKNOWN})
    dataset = loaded(data)
    channels, height, width = dataset.image_shape
    return DataLook(
        data.model_copy(update={"class_names": ()}),
        len(dataset.train.images) + len(dataset.test.images),
        [(height, width)],
        channels,
        dataset.class_names if dataset.is_labelled else None,
    )
