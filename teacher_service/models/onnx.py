"""A model in an ONNX file, run by onnxruntime (the `onnx` extra), on CUDA if its build and the machine have it.

The model takes one float32 input `[batch, channels, height, width]` and returns logits `[batch, classes]` first; its
other outputs are features, by their names. It has a card, as every weights file: JSON under `tuition` in its metadata
properties, or in a file beside it (`model.onnx.json`). Its external data must be in its folder.

Invariant: the fingerprint covers the bytes that run, those of external data too, and no file is read again later.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.normalise import normalise
from shared.weights import CARD, FINGERPRINT_LENGTH, WeightsCard, WeightsError, canonical_card, read_card
from teacher_service.models.base import Teacher
from teacher_service.models.external_data import external_files

if TYPE_CHECKING:
    import onnxruntime

_TRIED: Final = 2
"""Images in the first pass, which fails if the model's batch size is fixed at one."""
_FLOAT: Final = "tensor(float)"
_LAYER: Final = re.compile(r"[\w./-]{1,100}")


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
        try:
            content = model.read_bytes()
        except OSError as error:
            raise WeightsError(f"{model}: the model cannot be read ({error.strerror})") from error
        self._session, on, external = _session(model, content, device, threads)
        described = self._session.get_modelmeta().custom_metadata_map.get(CARD)
        card = read_card(model, described if described is not None else _beside(model))
        fingerprint = _fingerprint(card, content, external)
        self._input = self._session.get_inputs()[0].name
        logits, *others = self._session.get_outputs()
        self._logits = logits.name
        layers = [output.name for output in others if output.type == _FLOAT and _LAYER.fullmatch(output.name)]
        super().__init__(card, fingerprint, on, self._tried(model, card, layers))

    def _forward(self, images: NDArray[np.uint8], layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        logits, *features = self._run(self.card, images, layers)
        return logits, dict(zip(layers, features, strict=True))

    def _run(self, card: WeightsCard, images: NDArray[np.uint8], layers: Sequence[str]) -> list[Tensor]:
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        seen = normalise(pixels, card.mean, card.std, size=card.resize).numpy()
        return [torch.from_numpy(values) for values in self._session.run([self._logits, *layers], {self._input: seen})]

    def _tried(self, model: Path, card: WeightsCard, layers: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """The shape of one sample's features at each layer, from a pass over two black images."""
        black = np.zeros((_TRIED, card.in_channels, *card.image_size), np.uint8)
        try:
            logits, *features = self._run(card, black, layers)
        except Exception as error:  # the exceptions of onnxruntime have no common base
            raise WeightsError(
                f"{model}: expected a model that takes float32 [batch, {card.in_channels}, height, width] as its card "
                f"says, in batches of any size; a pass over {_TRIED} images failed ({error})"
            ) from error
        if logits.shape != (_TRIED, card.num_classes):
            raise WeightsError(
                f"{model}: expected its first output to be logits [batch, {card.num_classes}], got "
                f"{list(logits.shape)} for {_TRIED} images"
            )
        return {
            layer: tuple(values.shape[1:])
            for layer, values in zip(layers, features, strict=True)
            if values.ndim > 1 and len(values) == _TRIED
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
            f"{card.name} beside it; the operator's guide shows one"
        ) from error
