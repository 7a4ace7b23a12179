"""The model behind the service: one class for each kind of file, one way to open any."""

from teacher_service.models.base import Teacher
from teacher_service.models.onnx import OnnxTeacher
from teacher_service.models.pytorch import TorchTeacher
from teacher_service.settings import Settings

__all__ = ["OnnxTeacher", "Teacher", "TorchTeacher", "open_teacher"]


def open_teacher(settings: Settings) -> Teacher:
    """The teacher that the settings name: an ONNX model where the file is called so, else a weights file.

    Raises:
        WeightsError: a bad file, or one that names code which is not trusted.
        ValueError: the settings name no file, or what the model needs is not there.
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
