"""A program of PyTorch in an archive (TorchScript or torch.export) that holds a card, on CUDA if there is one.

The program takes normalised images, float `[batch, channels, height, width]`, and gives logits. One that was saved for
a fixed batch size is run in batches of that size. Loading it runs code of the archive, so it needs trust.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.networks.foreign import described
from shared.normalise import normalise
from shared.weights import WeightsError, read_card
from teacher_service.models.archives.archive_file import ArchiveFile
from teacher_service.models.archives.programs import Program, load_program
from teacher_service.models.base import Teacher
from teacher_service.models.batch_limits import BatchLimits
from teacher_service.models.module import device_of
from teacher_service.models.packing.advice import without_card

_TRIED: Final = 2
"""Images in the first pass, which shows whether the program takes batches of several."""
_GUESSES: Final = (BatchLimits(), BatchLimits(1, 1))
"""The batch sizes that are tried where the archive states none: any, then one image at a time."""


class ArchiveTeacher(Teacher):
    """A program on one device."""

    platform = "pytorch"

    def __init__(
        self, archive: Path, device: str = "auto", *, trust_code: bool = False, precision: str = "float32"
    ) -> None:
        """Load a program onto a device.

        Args:
            archive: the file.
            device: `auto`, `cpu` or `cuda`.
            trust_code: whether the code of the archive may run.
            precision: only float32; export the program in another precision to run it in that.

        Raises:
            WeightsError: the file is missing, damaged, not trusted, has no card, or is not such a program.
            ValueError: CUDA was requested and is absent, or `precision` is not float32.
        """
        if precision != "float32":
            raise ValueError(f"precision: expected float32, got {precision}: an archive has its program's precision")
        self._device = device_of(device)
        file = ArchiveFile.read(archive)
        if file.card is None:
            raise without_card(archive, file.kind)
        card = read_card(archive, file.card)
        if not trust_code:
            raise WeightsError(
                f"{archive}: it is {file.kind.value}, whose code runs when it is loaded; pass --trust-code if you "
                "trust the file's author"
            )
        self._program = load_program(file, self._device)
        seen = (card.in_channels, *(card.resize or card.image_size))
        self._limits, classes = tried(self._program, archive, seen, self._device)
        if classes != card.num_classes:
            raise WeightsError(
                f"{archive}: expected logits [batch, {card.num_classes}], as its card says, got logits for {classes} "
                "classes; pack the archive again with the right number"
            )
        super().__init__(card, file.fingerprint(card), self._device.type, {})

    def _forward(self, images: NDArray[np.uint8], layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: ARG002 - a program has logits alone
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self._device)
        seen = normalise(pixels, self.card.mean, self.card.std, size=self.card.resize)
        return self._program.logits(seen, self._limits), {}


def tried(
    program: Program, path: Path, image_shape: tuple[int, int, int], device: torch.device
) -> tuple[BatchLimits, int]:
    """The batch sizes that a program takes, and its number of classes, from passes over black images.

    Args:
        program: on the device.
        path: of its file, for messages.
        image_shape: channels, height and width of what the program gets.
        device: of the program.

    Raises:
        WeightsError: the program does not map such images to logits.
    """
    if program.image_shape is not None and any(
        fixed not in (None, given) for fixed, given in zip(program.image_shape, image_shape, strict=True)
    ):
        stated = ["any" if size is None else size for size in program.image_shape]
        raise WeightsError(
            f"{path}: expected a program for images of shape {list(image_shape)}, as its card says, got one that was "
            f"saved for {stated}; state that shape (--image-size, --resize), or export the network for yours"
        )
    black = torch.zeros(_TRIED, *image_shape, device=device)
    limits, error = _first_that_works(program, black)
    if limits is None:
        raise WeightsError(
            f"{path}: expected a program that takes float [batch, {image_shape[0]}, height, width], in batches of any "
            f"size or one by one; a pass over {_TRIED} images of shape {list(image_shape)} failed ({error}). Check the "
            "shape, or save the program with a free batch size: torch.export.export(network, (images,), "
            "dynamic_shapes=({0: torch.export.Dim('batch')},))"
        )
    with torch.inference_mode():
        return limits, program.logits(black, limits).shape[1]


def _first_that_works(program: Program, images: Tensor) -> tuple[BatchLimits | None, str]:
    """Limits with which the program runs, or the error of the first that were tried."""
    errors = list[str]()
    for limits in _GUESSES if program.limits is None else (program.limits,):
        try:
            with torch.inference_mode():
                program.logits(images, limits)
        except Exception as error:  # the program may raise anything
            errors.append(described(error))
        else:
            return limits, ""
    return None, errors[0]
