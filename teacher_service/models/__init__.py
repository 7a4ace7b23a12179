"""The model behind the service: a class for each kind of file, and one function that opens any of them."""

from pathlib import Path

from teacher_service.models.archives.archive_teacher import ArchiveTeacher
from teacher_service.models.base import Teacher
from teacher_service.models.file_kind import ARCHIVES, FileKind, kind_of
from teacher_service.models.module import ModuleTeacher, Precision
from teacher_service.models.onnx import OnnxTeacher
from teacher_service.models.packing.advice import without_card
from teacher_service.models.pytorch import TorchTeacher
from teacher_service.settings import Settings

__all__ = ["ArchiveTeacher", "ModuleTeacher", "OnnxTeacher", "Teacher", "TorchTeacher", "open_model", "open_teacher"]


def open_teacher(settings: Settings) -> Teacher:
    """The teacher of the settings.

    Raises:
        WeightsError: as `open_model`.
        ValueError: the settings name no file, or as `open_model`.
    """
    if settings.weights is None:
        raise ValueError("weights: expected --weights FILE or TEACHER_WEIGHTS, got neither")
    return open_model(
        settings.weights,
        settings.device,
        trust_code=settings.trust_code,
        precision=settings.precision,
        pin_memory=settings.pin_memory,
    )


def open_model(
    path: Path,
    device: str = "auto",
    *,
    trust_code: bool = False,
    precision: Precision = "float32",
    pin_memory: bool = True,
) -> Teacher:
    """The model in a file, of the class for what the file holds, whatever its name; see the classes for the arguments.

    Raises:
        WeightsError: a bad file, one without a card, or one whose code is not trusted.
        ValueError: a package or device that the model needs is missing, or the model does not fit its card.
    """
    kind = kind_of(path)
    if kind is FileKind.ONNX or path.suffix == ".onnx":
        return OnnxTeacher(path, device, precision=precision)
    if kind in ARCHIVES:
        return ArchiveTeacher(path, device, trust_code=trust_code, precision=precision)
    if kind is not FileKind.WEIGHTS:
        raise without_card(path, kind)
    return TorchTeacher(path, device, trust_code=trust_code, precision=precision, pin_memory=pin_memory)
