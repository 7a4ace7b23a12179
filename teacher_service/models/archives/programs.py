"""Loading a program of PyTorch from an archive. To load one is to run code that its author chose.

`torch.export.load` unpickles parts of the file and may load machine code from it; a TorchScript program may read and
write files. So a caller loads an archive only if the operator trusts its author.
"""

import io
import logging
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from shared.networks.foreign import described
from shared.networks.outputs import logits_of
from shared.weights import WeightsError
from teacher_service.models.archives.archive_file import ArchiveFile
from teacher_service.models.batch_limits import BatchLimits
from teacher_service.models.file_kind import FileKind

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST: Final = 2**20
"""A batch size from here on is no limit."""


@dataclass(frozen=True)
class Program:
    """A loaded program."""

    call: Callable[[Tensor], Any]
    dtype: torch.dtype = torch.float32
    """Of the images that it takes."""
    limits: BatchLimits | None = None
    """The batch sizes that the archive states; None where it states none, as TorchScript does."""
    image_shape: tuple[int | None, int | None, int | None] | None = None
    """Channels, height and width, as the archive states them; None for one that is free, or if it states none."""

    def logits(self, images: Tensor, limits: BatchLimits) -> Tensor:
        """The logits of normalised images, float32 `[images, classes]`, from batches within the limits."""
        (logits,) = limits.run(lambda batch: [logits_of(self.call(batch)).float()], images.to(self.dtype))
        return logits


def load_program(archive: ArchiveFile, device: torch.device) -> Program:
    """The program of an archive, on a device. Runs code of the archive.

    Raises:
        WeightsError: this version of PyTorch cannot load it, or it does not take one tensor of images.
    """
    try:
        with _quiet():
            return _scripted(archive, device) if archive.kind is FileKind.TORCHSCRIPT else _exported(archive, device)
    except WeightsError:
        raise
    except Exception as error:  # a damaged or foreign archive may raise anything
        raise WeightsError(
            f"{archive.path}: expected {archive.kind.value} that PyTorch {torch.__version__} can load, got an error "
            f"({described(error)})"
        ) from error


def _scripted(archive: ArchiveFile, device: torch.device) -> Program:
    module = torch.jit.load(io.BytesIO(archive.content), map_location=device).eval()  # type: ignore[no-untyped-call]

    def call(images: Tensor) -> Any:
        # Else it would rewrite itself after the first passes, with other bits.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return module(images)

    return Program(call)


def _exported(archive: ArchiveFile, device: torch.device) -> Program:
    from torch.export.passes import move_to_device_pass

    program = torch.export.load(io.BytesIO(archive.content))
    names = program.graph_signature.user_inputs
    (taken,) = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names][:1]
    if len(names) != 1 or not isinstance(taken, Tensor) or taken.ndim != 4 or not taken.is_floating_point():
        raise WeightsError(
            f"{archive.path}: expected a program that takes one tensor of images, float [batch, channels, height, "
            f"width], got one that takes {_inputs(names, taken)}; export the network alone, without its preprocessing"
        )
    sizes: list[Any] = [*taken.shape]  # a number, or a symbol where it is free
    channels, height, width = (size if isinstance(size, int) else None for size in sizes[1:])
    limits = _limits(program, sizes[0])
    module = move_to_device_pass(program, device).module()
    return Program(module, taken.dtype, limits, (channels, height, width))


def _inputs(names: Any, taken: Any) -> str:
    if len(names) != 1 or not isinstance(taken, Tensor):
        return f"{len(names)} inputs"
    return f"{taken.dtype} {list(taken.shape)}"


def _limits(program: torch.export.ExportedProgram, size: Any) -> BatchLimits:
    """The batch sizes that a program takes: one, a range, or all."""
    if isinstance(size, int):
        return BatchLimits(size, size)
    allowed = program.range_constraints.get(size.node.expr)
    if allowed is None:
        return BatchLimits()
    most = int(allowed.upper) if allowed.upper < _LARGEST else None
    return BatchLimits(max(1, int(allowed.lower)), most)


@contextmanager
def _quiet() -> "Iterator[None]":
    """Without PyTorch's advice to the author of the program, and without a log of what an error says, too."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
