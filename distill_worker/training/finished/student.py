"""The student of a finished run, read from its run directory, or any network in a weights file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from distill_worker.errors import RunError, WeightsFileError
from distill_worker.training.directory.run_directory import STUDENT, RunDirectory
from shared.expectations import complaints
from shared.networks.outputs import check_network, logits_of
from shared.normalise import normalise
from shared.weights import WeightsCard, WeightsError, load_weights


class RunFacts(BaseModel):
    """What is read of a result.json; earlier versions wrote fewer of these facts."""

    model_config = ConfigDict(frozen=True)

    method: str | None = None
    track: str | None = None
    data: str | None = None
    n: int | None = None
    calls: int | None = None
    steps: int | None = None
    seed: int | None = None
    teacher_id: str | None = None
    teacher_output: str | None = None
    accuracy: float | None = None
    correct: int | None = None
    test_samples: int | None = None
    fidelity: dict[str, Any] | None = None
    """How far it agrees with its teacher on samples that it was not trained on."""


@dataclass(frozen=True)
class FinishedStudent:
    """A trained network and the description of its weights file."""

    weights: Path
    card: WeightsCard
    network: nn.Module
    """In evaluation mode, on the CPU."""
    fingerprint: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return (self.card.in_channels, *self.card.image_size)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what the network sees."""
        return (self.card.in_channels, *(self.card.resize or self.card.image_size))

    def inputs(self, images: Tensor) -> Tensor:
        """The network's input, float32 and normalised, from uint8 `[images, channels, height, width]`."""
        return normalise(images, self.card.mean, self.card.std, size=self.card.resize)

    def logits(self, inputs: Tensor) -> Tensor:
        """The network's logits, float32 `[images, classes]`, before any degradation that the card names."""
        return logits_of(self.network(inputs)).float()

    def facts(self) -> RunFacts:
        """What the run directory says of the student; nothing for a weights file that is in none.

        Raises:
            RunError: the result cannot be read.
        """
        result = RunDirectory(self.weights.parent).result() if self.weights.name == STUDENT else None
        try:
            return RunFacts.model_validate(result or {})
        except ValidationError as error:
            raise RunError(
                f"{self.weights.parent / 'result.json'}: expected the result of a run, got another file "
                f"({complaints(error)})"
            ) from error

    def trained_with(self) -> dict[str, Any]:
        """The versions that the student was trained with, by name, as its run directory says."""
        stored = RunDirectory(self.weights.parent).read_json("run.json") if self.weights.name == STUDENT else None
        environment = (stored or {}).get("environment")
        if not isinstance(environment, dict):
            return {}
        return {name: environment[name] for name in ("python", "torch") if name in environment}


def load_student(place: Path, *, trust_code: bool = False, network: str | None = None) -> FinishedStudent:
    """Read a finished student.

    Args:
        place: a run directory, or a weights file.
        trust_code: whether to run the code that the weights file names as its network. A relative path of it starts
            at the working directory.
        network: the name to build its network by, if not that in the file.

    Raises:
        RunError: the folder holds no finished run.
        WeightsFileError: the weights file is missing or damaged, names code that is not trusted, or does not fit its
            network.
    """
    if not place.exists():
        raise WeightsFileError(f"{place}: expected a run directory or a weights file, got neither")
    weights = _weights_in(place) if place.is_dir() else place
    try:
        card, loaded, fingerprint = load_weights(weights, trust_code=trust_code, network=network)
        student = FinishedStudent(weights, card, loaded, fingerprint)
        check_network(loaded, student.input_shape, card.num_classes)
    except WeightsError as error:
        raise WeightsFileError(str(error)) from error
    except ValueError as error:
        raise WeightsFileError(f"{weights}: {error}") from error
    return student


def _weights_in(folder: Path) -> Path:
    directory, weights = RunDirectory(folder), folder / STUDENT
    if directory.result() is None:
        if directory.has_progress() or (folder / "run.json").exists():
            raise RunError(
                f"{folder}: expected a finished run, got one without a result; run the command that began it again, "
                "which finishes it"
            )
        raise RunError(
            f"{folder}: expected the directory of a run, with result.json and {STUDENT}, got a folder without them; "
            "name the output.directory of one run. A comparison has a directory for each student"
        )
    if not weights.is_file():
        raise RunError(f"{folder}: expected {STUDENT}, got a finished run whose weights were deleted; train it again")
    return weights
