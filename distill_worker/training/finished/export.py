"""Export a finished student to a file in another format, with a model card beside it.

Invariant: an exported file is there only if its logits were compared with those of the PyTorch student, and are the
same to `TOLERANCE`. No file is replaced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from distill_worker.errors import CheckFailed, ConfigError, WeightsFileError
from distill_worker.training.directory.run_directory import EXPORT
from distill_worker.training.finished.formats import FORMATS, Format
from distill_worker.training.finished.images import Images
from distill_worker.training.finished.model_card import Exported, model_card
from distill_worker.training.finished.student import FinishedStudent
from distill_worker.training.finished.tracing import Run
from distill_worker.training.network.errors import translated_errors
from shared.atomic_file import atomic_replacement
from shared.networks.draws import draws_from

TOLERANCE: Final = 1e-4
"""The largest difference of two logits that counts as none."""
MODEL_CARD: Final = "README.md"
_SEED: Final = 0
"""For the networks that draw even in evaluation mode."""


@dataclass(frozen=True)
class Target:
    """The format of an export, and its files, which do not exist yet."""

    format: Format
    file: Path

    @property
    def model_card(self) -> Path:
        """The model card beside the file."""
        return self.file.with_name(MODEL_CARD)


def target_of(place: Path, format_name: str, output: Path | None) -> Target:
    """What an export will write.

    Args:
        place: the run directory or weights file that is exported.
        format_name: one of `FORMATS`.
        output: the file, if its name ends as those of a format do, or else its folder; by default the folder
            `export/<format>` beside the weights.

    Raises:
        ConfigError: a file is there already, the name ends as in another format, or a package of the format is missing.
    """
    chosen = FORMATS[format_name]
    chosen.check_possible()
    target = Target(chosen, _file(place, chosen, output))
    for path in (target.file, target.model_card):
        if path.exists():
            raise ConfigError(
                f"{path}: expected no file of this name, got one; delete it, or choose another folder with --output, "
                "because a file that others may use is never replaced. Nothing was written"
            )
    return target


def _file(place: Path, chosen: Format, output: Path | None) -> Path:
    name = f"student{chosen.suffix}"
    if output is None:
        return (place if place.is_dir() else place.parent) / EXPORT / chosen.name / name
    if output.is_dir() or output.suffix not in {one.suffix for one in FORMATS.values()}:
        return output / name
    if output.suffix != chosen.suffix:
        raise ConfigError(
            f"--output {output}: expected a folder, or a file whose name ends in {chosen.suffix}, as those of "
            f"{chosen.name} do, got {output.suffix}; choose another name or another --format. Nothing was written"
        )
    return output


def export_student(student: FinishedStudent, target: Target, images: Images) -> Exported:
    """Write the student and its model card, if the file computes what the student computes.

    Raises:
        ConfigError: the network cannot be exported to the format.
        CheckFailed: the file's logits differ from the student's.
        WeightsFileError: the files cannot be written.
        RunError: see `FinishedStudent.facts`.
    """
    with translated_errors(
        f"a network that can be exported as {target.format.description}",
        ". Nothing was written; --format safetensors writes the weights of every network",
    ):
        content = target.format.content(student)
        largest = _largest_difference(student, target.format.opened(content, student), images)
    if not largest <= TOLERANCE:  # also where it is not a number
        raise CheckFailed(
            f"{student.weights}: expected {target.format.description} whose logits are within {TOLERANCE:g} of the "
            f"student's, got a difference of {largest:g} on {images.origin}; nothing was written. A network that draws "
            "numbers, or whose logits are very large or not finite, cannot be exported so"
        )
    exported = Exported(target.file.name, target.format, largest, images.origin)
    _write(target, content, model_card(student, exported).encode())
    return exported


def _largest_difference(student: FinishedStudent, run: Run, images: Images) -> float:
    """Of two logits, over all images, of which the first goes alone: the batch may have any size."""
    inputs = student.inputs(images.pixels)
    parts = [part for part in (inputs[:1], inputs[1:]) if len(part)]
    return float((_logits(run, parts) - _logits(student.logits, parts)).abs().max())


def _logits(run: Run, parts: Sequence[Tensor]) -> Tensor:
    with draws_from(_SEED), torch.inference_mode():
        return torch.cat([run(part) for part in parts])


def _write(target: Target, content: bytes, text: bytes) -> None:
    """Both files, or none."""
    try:
        target.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(target.file) as file, atomic_replacement(target.model_card) as card:
            file.write_bytes(content)
            card.write_bytes(text)
    except OSError as error:
        raise WeightsFileError(
            f"{target.file}: cannot be written ({error.strerror or error}); no half file was left there. Free some "
            "space, or choose another folder with --output"
        ) from error
