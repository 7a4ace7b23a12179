"""A network in PyTorch: weights from a safetensors file, preprocessing from its card."""

from pathlib import Path

from shared.weights import load_weights
from teacher_service.models.module import ModuleTeacher, Precision, device_of


class TorchTeacher(ModuleTeacher):
    """The network of a weights file."""

    def __init__(
        self,
        weights: Path,
        device: str = "auto",
        *,
        trust_code: bool = False,
        precision: Precision = "float32",
        pin_memory: bool = True,
    ) -> None:
        """Load a weights file onto a device.

        Args:
            weights: a self-describing safetensors file.
            device: as `ModuleTeacher`.
            trust_code: whether the file may name code that is then imported.
            precision: as `ModuleTeacher`.
            pin_memory: as `ModuleTeacher`.

        Raises:
            WeightsError: a bad file, or one that names code which is not trusted.
            ValueError: as `ModuleTeacher`.
        """
        device_of(device)  # before a large file is read
        card, network, fingerprint = load_weights(weights, trust_code=trust_code)
        try:
            super().__init__(card, network, fingerprint, device, precision=precision, pin_memory=pin_memory)
        except ValueError as error:
            raise ValueError(f"{weights}: {error}; correct the card of the file") from error
