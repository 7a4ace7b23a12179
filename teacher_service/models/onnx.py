"""A model in an ONNX file, run by onnxruntime (the `onnx` extra), on CUDA if its build and the machine have it.

The model takes one float32 input `[batch, channels, height, width]` and returns logits `[batch, classes]` first; its
other outputs are features, by their names. A model of a fixed batch size is run in batches of that size. It has a card,
as every weights file: JSON under `tuition` in its metadata properties, or in a file beside it (`model.onnx.json`). Its
external data must be in its folder.

Invariant: the fingerprint covers the bytes that run, those of external data too, and no file is read again later.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.normalise import normalise
from shared.weights import CARD, FINGERPRINT_LENGTH, WeightsCard, WeightsError, canonical_card, read_card
from teacher_service.models.base import Teacher
from teacher_service.models.batch_limits import BatchLimits
from teacher_service.models.external_data import external_files
from teacher_service.models.file_kind import FileKind
from teacher_service.models.packing.advice import pack_command

if TYPE_CHECKING:
    import onnxruntime

_TRIED: Final = 2
"""Images in the first pass of a model that takes batches of any size."""
_FLOAT: Final = "tensor(float)"
_LAYER: Final = re.compile(r"[\w./-]{1,100}")


@dataclass(frozen=True)
class OnnxModel:
    """A model in a session, with or without a card."""

    path: Path
    content: bytes
    external: Mapping[str, bytes]
    """Its external data, by location."""
    session: "onnxruntime.InferenceSession"
    device: str

    @classmethod
    def open(cls, path: Path, device: str = "auto", threads: int | None = None) -> Self:
        """Open a model on a device, with so many CPU threads for a pass.

        Raises:
            WeightsError: the file or its external data is missing or damaged.
            ValueError: onnxruntime is not installed, or CUDA was requested and is absent.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path}: the model cannot be read ({error.strerror})") from error
        session, on, external = _session(path, content, device, threads)
        return cls(path, content, external, session, on)

    @property
    def card(self) -> str | None:
        """The card among its metadata properties, as JSON."""
        text: str | None = self.session.get_modelmeta().custom_metadata_map.get(CARD)
        return text

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Batch, channels, height and width of the images, as the model states them; None for one that is free."""
        return tuple(size if isinstance(size, int) and size > 0 else None for size in self._input.shape)

    @property
    def outputs(self) -> list[tuple[str, str]]:
        """Name and type of each output; the first has the logits."""
        return [(output.name, output.type) for output in self.session.get_outputs()]

    def run(self, names: Sequence[str], images: Tensor) -> list[Tensor]:
        """These outputs of normalised images, float32, in batches that the model takes."""
        return self._limits.run(lambda batch: self._pass(names, batch), images)

    def tried(self, names: Sequence[str], image_shape: tuple[int, int, int]) -> list[Tensor]:
        """These outputs of a batch of black images: two, or as many as the model states.

        Args:
            names: of the outputs; that of the logits first.
            image_shape: channels, height and width of what the model gets.

        Raises:
            WeightsError: the pass fails, or the first output has not the shape of logits.
        """
        samples = self._limits.most or _TRIED
        try:
            outputs = self._pass(names, torch.zeros(samples, *image_shape))
        except Exception as error:  # the exceptions of onnxruntime have no common base
            raise WeightsError(
                f"{self.path}: expected a model that takes float32 [batch, {image_shape[0]}, height, width] as its "
                f"card says, in batches of any size or of the one that it states; a pass over {samples} images of "
                f"shape {list(image_shape)} failed ({error})"
            ) from error
        if outputs[0].ndim != 2 or len(outputs[0]) != samples:
            raise WeightsError(
                f"{self.path}: expected its first output to be logits [batch, classes], got "
                f"{list(outputs[0].shape)} for {samples} images"
            )
        return outputs

    def _pass(self, names: Sequence[str], batch: Tensor) -> list[Tensor]:
        return [torch.from_numpy(values) for values in self.session.run(list(names), {self._input.name: batch.numpy()})]

    @property
    def _limits(self) -> BatchLimits:
        batch_size = next(iter(self.input_shape), None)
        return BatchLimits() if batch_size is None else BatchLimits(batch_size, batch_size)

    @property
    def _input(self) -> Any:
        return self.session.get_inputs()[0]


class OnnxTeacher(Teacher):
    """An ONNX model on one device."""

    platform = "onnxruntime_onnx"

    def __init__(
        self, model: Path, device: str = "auto", *, precision: str = "float32", threads: int | None = None
    ) -> None:
        """Load a model onto a device.

        Args:
            model: the file.
            device: `auto`, `cpu` or `cuda`.
            precision: only float32; export the model in another precision to run it in that.
            threads: CPU threads for one pass; by default onnxruntime chooses.

        Raises:
            WeightsError: the file or its external data is missing, damaged, has no card, or is not such a model.
            ValueError: onnxruntime is not installed, CUDA was requested and is absent, or `precision` is not float32.
        """
        if precision != "float32":
            raise ValueError(f"precision: expected float32, got {precision}: an ONNX model has the file's precision")
        self._model = OnnxModel.open(model, device, threads)
        described = self._model.card
        card = read_card(model, described if described is not None else _beside(model))
        fingerprint = _fingerprint(card, self._model.content, self._model.external)
        (self._logits, _), *others = self._model.outputs
        layers = [name for name, kind in others if kind == _FLOAT and _LAYER.fullmatch(name)]
        super().__init__(card, fingerprint, self._model.device, self._tried(card, layers))

    def _forward(self, images: NDArray[np.uint8], layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        seen = normalise(pixels, self.card.mean, self.card.std, size=self.card.resize)
        logits, *features = self._model.run([self._logits, *layers], seen)
        return logits, dict(zip(layers, features, strict=True))

    def _tried(self, card: WeightsCard, layers: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """The shape of one sample's features at each layer, from a pass over black images."""
        seen = (card.in_channels, *(card.resize or card.image_size))
        logits, *features = self._model.tried([self._logits, *layers], seen)
        if logits.shape[1] != card.num_classes:
            raise WeightsError(
                f"{self._model.path}: expected its first output to be logits [batch, {card.num_classes}], got "
                f"{list(logits.shape)} for {len(logits)} images"
            )
        return {
            layer: tuple(values.shape[1:])
            for layer, values in zip(layers, features, strict=True)
            if values.ndim > 1 and len(values) == len(logits)
        }


def _fingerprint(card: WeightsCard, content: bytes, external: Mapping[str, bytes]) -> str:
    digest = sha256(canonical_card(card))
    digest.update(content)
    for location, data in external.items():
        digest.update(f"{location}:{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()[:FINGERPRINT_LENGTH]


def _session(
    model: Path, content: bytes, device: str, threads: int | None
) -> "tuple[onnxruntime.InferenceSession, str, Mapping[str, bytes]]":
    """The session, the device that it runs on, and the external data that it was made with."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"{model}: ONNX models need onnxruntime; install tuition with its `onnx` extra") from error
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise ValueError(
            "device: expected onnxruntime with CUDA, got it without; install onnxruntime-gpu, or use `cpu`"
        )
    on = "cuda" if has_cuda and device != "cpu" else "cpu"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    external = external_files(model, content)
    if external:
        _add_external(model, options, external)
    try:  # from the bytes that the fingerprint covers
        session = onnxruntime.InferenceSession(
            content, options, providers=["CUDAExecutionProvider", "CPUExecutionProvider"][on == "cpu" :]
        )
    except Exception as error:
        raise WeightsError(f"{model}: expected an ONNX model that onnxruntime can run ({error})") from error
    return session, on, external


def _add_external(model: Path, options: "onnxruntime.SessionOptions", external: Mapping[str, bytes]) -> None:
    if not hasattr(options, "add_external_initializers_from_files_in_memory"):
        raise ValueError(
            f"{model}: expected an onnxruntime that takes external data from memory, got an older one; update "
            "onnxruntime, or save the model in one file"
        )
    options.add_external_initializers_from_files_in_memory(
        list(external), list(external.values()), [len(data) for data in external.values()]
    )


def _beside(model: Path) -> str:
    card = model.with_name(model.name + ".json")
    try:
        return card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"{model}: the model does not describe itself (no {CARD!r} among its metadata properties) and there is no "
            f"{card.name} beside it, which the operator's guide shows. Write a copy that has one:\n  "
            f"{pack_command(model, FileKind.ONNX)}"
        ) from error
