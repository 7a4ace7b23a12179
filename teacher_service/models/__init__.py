"""The model behind the service: a class for each kind of file, and one function that opens any of them."""

from teacher_service.models.base import Teacher
from teacher_service.models.onnx import OnnxTeacher
from teacher_service.models.pytorch import TorchTeacher
from teacher_service.settings import Settings

__all__ = ["OnnxTeacher", "Teacher", "TorchTeacher", "open_teacher"]


def open_teacher(settings: Settings) -> Teacher:
    """The teacher of the settings: an ONNX model if the file name ends in `.onnx`, otherwise a weights file.

    Raises:
        WeightsError: a bad file, or one that names code which is not trusted.
        ValueError: the settings name no file, or a package or device that the model needs is missing.
    """
    if settings.weights is None:
        raise ValueError("weights: expected --weights FILE or TEACHER_WEIGHTS, got neither")
    if settings.weights.suffix == ".onnx":
        return OnnxTeacher(settings.weights, settings.device, precision=settings.precision)
    return TorchTeacher(
        settings.weights,
        settings.device,
        trust_code=settings.trust_code,
        precision=settings.precision,
        pin_memory=settings.pin_memory,
    )
