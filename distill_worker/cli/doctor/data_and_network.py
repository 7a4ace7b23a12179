"""The data of a run, and the student that is built on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from distill_worker.cli.doctor.finding import Finding
from distill_worker.config.run_config import RunConfig
from distill_worker.config.training_section import AUTO
from distill_worker.data.datasets import takes_class_names
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import WorkerError
from distill_worker.runs.rounds import SelectedSamples, selected_samples
from distill_worker.runs.run_facts import first_student
from distill_worker.runs.sampling.samples import dataset_of
from shared.networks.draws import draws_from

DATA: Final = "data"
_UNKNOWN: Final = ("unknown", "unknown, too")
"""Stand for the teacher's classes where only the teacher names them, and it cannot be reached."""
DATA_REMEDY: Final = (
    "correct data.name, and data.path or data.root (distill-worker datasets lists the formats), or the files; "
    'data.unreadable = "skip" leaves out image files that cannot be read (docs/pictures.md)'
)
NETWORK_REMEDY: Final = "set student.network to another one (distill-worker networks), or student.image_size"


@dataclass(frozen=True)
class Material:
    """The data of a run. They are read once, also if that fails."""

    config: RunConfig

    @cached_property
    def loaded(self) -> Dataset | WorkerError:
        """The data set, or the error that reading it raised."""
        data = self.config.data
        if self.lacks_classes:
            data = data.model_copy(update={"class_names": _UNKNOWN})
        try:
            return dataset_of(self.config.model_copy(update={"data": data}))
        except WorkerError as error:
            return error

    @property
    def lacks_classes(self) -> bool:
        """Whether the classes are those of the teacher, which has not named them."""
        data = self.config.data
        return not data.has_labels and takes_class_names(data.name) and not data.class_names

    @cached_property
    def _selected(self) -> SelectedSamples | WorkerError:
        if isinstance(self.loaded, WorkerError):
            return self.loaded
        try:
            return selected_samples(self.config, keep=False, dataset=self.loaded)
        except WorkerError as error:
            return error

    def select(self) -> SelectedSamples:
        """The samples of the run. Raises `WorkerError`, the same one each time."""
        if isinstance(self._selected, WorkerError):
            raise self._selected
        return self._selected


def check_data(material: Material) -> Iterator[Finding]:
    """Check that the data can be read, and say what they are."""
    dataset = material.loaded
    if isinstance(dataset, WorkerError):
        yield Finding.fault(DATA, dataset, DATA_REMEDY)
        return
    yield Finding.ok(DATA, in_words(dataset, lacks_classes=material.lacks_classes))
    for note in dataset.notes:
        yield Finding.warning(DATA, note, "nothing, if that is as you meant it; else see docs/pictures.md")


def in_words(dataset: Dataset, *, lacks_classes: bool = False) -> str:
    """What a data set is, in one line."""
    channels, height, width = dataset.image_shape
    labels = "" if dataset.is_labelled else " without labels"
    classes = "the classes are the teacher's" if lacks_classes else f"{len(dataset.class_names)} classes"
    return (
        f"{dataset.name}: {len(dataset.train.images):,} training images{labels} of {channels} x {height} x {width} "
        f"(channels x height x width), {len(dataset.test.images):,} test images, {classes}"
    )


def check_network(material: Material) -> Finding:
    """Check that the student can be built for the data, and classifies an image of them."""
    config, dataset = material.config, material.loaded
    if isinstance(dataset, WorkerError):
        return Finding.not_checked("network", f"{DATA} must hold first")
    if material.lacks_classes:
        return Finding.not_checked("network", "the number of classes is the teacher's, which cannot be reached")
    if config.student.network == AUTO:
        return Finding.not_checked("network", "the size of the images is the teacher's, which cannot be reached")
    try:
        with draws_from(config.training.seed):
            network = first_student(config, dataset)
    except WorkerError as error:
        return Finding.fault("network", error, NETWORK_REMEDY)
    parameters = sum(values.numel() for values in network.parameters())
    shape = " x ".join(map(str, config.student.input_shape(dataset.image_shape)))
    return Finding.ok("network", f"{config.student.network}: {parameters:,} parameters, on images of {shape}")
