"""Packing: a model in whatever kind of file becomes one file that describes itself.

Invariant: the source is never changed, and no code in it runs unless its author is trusted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import nn

from shared.networks.foreign import described
from shared.networks.outputs import check_network, evaluating, logits_of
from shared.weights import WeightsCard, WeightsError, code_provenance, network_of, weights_bytes
from teacher_service.models.archive import tried
from teacher_service.models.archive_file import ArchiveFile
from teacher_service.models.file_kind import ARCHIVES, FileKind, kind_of
from teacher_service.models.onnx import OnnxModel
from teacher_service.models.onnx_message import with_card
from teacher_service.models.packing.advice import without_card
from teacher_service.models.packing.checkpoint import load_checkpoint
from teacher_service.models.packing.class_names import remarks
from teacher_service.models.packing.counts import channels_of, classes_of, shapes_of
from teacher_service.models.packing.request import PackRequest
from teacher_service.models.packing.state_dict import StateDict, state_dict_for
from teacher_service.models.packing.traced import traced_archive
from teacher_service.models.programs import load_program

_NAMES: Final = {FileKind.TORCHSCRIPT: "torchscript", FileKind.EXPORTED: "torch-export", FileKind.ONNX: "onnx"}
"""The network in the card of a file that holds its own computation."""
_CPU: Final = torch.device("cpu")
_SAMPLES: Final = 2

Shape = tuple[int, int, int]
"""Channels, height and width."""


@dataclass(frozen=True)
class Packed:
    """A file that describes itself, not written yet."""

    kind: FileKind
    card: WeightsCard
    content: bytes
    remarks: tuple[str, ...] = ()
    """What was done, or looks wrong, that the person may want to know."""
    beside: tuple[str, ...] = ()
    """The paths of further files with its tensors, from its own folder."""


def pack(request: PackRequest) -> Packed:
    """Make a file that describes itself of a model and what a person states of it.

    Raises:
        WeightsError: the file cannot be used, or not without trust in its author.
        ValueError: what is stated is wrong, differs from the file, or is not enough; or the network fails.
    """
    kind = kind_of(request.source)
    if kind is FileKind.WEIGHTS and request.network is None:
        raise ValueError(
            f"{request.source}: expected a file without a card, got one that describes itself already. Serve it: "
            f"teacher-service serve --weights {request.source}; to describe it anew, name its --network, too"
        )
    if kind in ARCHIVES:
        packed = _of_archive(request)
    elif kind is FileKind.ONNX:
        packed = _of_onnx(request)
    elif kind in (FileKind.WEIGHTS, FileKind.TENSORS, FileKind.CHECKPOINT):
        packed = _of_checkpoint(request, kind)
    else:
        raise without_card(request.source, kind)
    notes = (*packed.remarks, *remarks(packed.card.class_names))
    if request.class_names is None:
        notes += ("the classes have no names but numbers; state --class-names, so that clients can map them by name",)
    return replace(packed, remarks=notes)


def _of_checkpoint(request: PackRequest, kind: FileKind) -> Packed:
    loaded = load_checkpoint(request.source, kind, trust_pickle=request.trust_pickle)
    if isinstance(loaded, nn.Module):
        if request.network is None:
            return _of_network(request, loaded)
        loaded = loaded.state_dict()
    if request.network is None:
        raise ValueError(
            f"network: expected the network whose parameters {request.source} holds, as a state dict does not name it; "
            "state --network, such as torchvision:resnet50, timm:NAME, or file.py:FACTORY for code of your own"
        )
    names = shapes_of(request.network)
    return _of_tensors(request, request.network, state_dict_for(request.source, loaded, list(names), request.network))


def _of_tensors(request: PackRequest, name: str, state: StateDict) -> Packed:
    card = request.card(
        name,
        classes=classes_of(name, state.tensors),
        channels=channels_of(name, state.tensors),
        provenance={"packed_from": request.source.name, **code_provenance(name)},
    )
    try:
        network = network_of(card, state.tensors, name)
    except RuntimeError as error:
        raise WeightsError(
            f"{request.source}: expected the parameters of {name} for {card.num_classes} classes and "
            f"{card.in_channels} channels, got others ({_first_problem(error)})"
        ) from error
    check_network(network, (card.in_channels, *(card.resize or card.image_size)), card.num_classes)
    return Packed(FileKind.WEIGHTS, card, weights_bytes(network, card), state.remarks)


def _of_network(request: PackRequest, network: nn.Module) -> Packed:
    """A whole network becomes a program, because a weights file would need a name for its code."""

    def classes_for(shape: Shape) -> int:
        try:
            with evaluating(network):
                return logits_of(network(torch.zeros(_SAMPLES, *shape))).shape[1]
        except Exception as error:  # the user's code may raise anything
            raise WeightsError(
                f"{request.source}: expected {type(network).__name__} to take images of shape {list(shape)}, got an "
                f"error from it ({described(error)}); state its shape: --image-size, --in-channels"
            ) from error

    network = network.cpu().float().eval()
    card = _card(request, "torch-export", request.image_shapes(None, None), classes_for)
    note = f"the network {type(network).__name__} was saved as a program of torch.export, which needs its code no more"
    return Packed(FileKind.EXPORTED, card, traced_archive(network, card), (note,))


def _of_archive(request: PackRequest) -> Packed:
    file = ArchiveFile.read(request.source)
    if not request.trust_code:
        raise WeightsError(
            f"{request.source}: it is {file.kind.value}, whose code runs when it is loaded; pass --trust-code if you "
            "trust the file's author"
        )
    program = load_program(file, _CPU)
    channels, height, width = program.image_shape or (None, None, None)
    size = (height, width) if height is not None and width is not None else None
    card = _card(
        request,
        _NAMES[file.kind],
        request.image_shapes(channels, size),
        lambda shape: tried(program, request.source, shape, _CPU)[1],
        size,
    )
    return Packed(file.kind, card, file.with_card(card))


def _of_onnx(request: PackRequest) -> Packed:
    model = OnnxModel.open(request.source, "cpu")
    channels, height, width = model.input_shape[1:] if len(model.input_shape) == 4 else (None, None, None)
    size = (height, width) if height is not None and width is not None else None
    logits = [name for name, _ in model.outputs[:1]]
    card = _card(
        request,
        _NAMES[FileKind.ONNX],
        request.image_shapes(channels, size),
        lambda shape: model.tried(logits, shape)[0].shape[1],
        size,
    )
    content = with_card(model.content, card.model_dump_json())
    return Packed(FileKind.ONNX, card, content, beside=tuple(model.external))


def _card(
    request: PackRequest,
    network: str,
    shapes: Sequence[Shape],
    classes_for: Callable[[Shape], int],
    size: tuple[int, int] | None = None,
) -> WeightsCard:
    """The card for the first of the shapes with which a model runs.

    Raises:
        WeightsError: it runs with none of them; the error is that of the first.
    """
    errors = list[WeightsError]()
    for shape in shapes:
        try:
            classes = classes_for(shape)
        except WeightsError as error:
            errors.append(error)
        else:
            return request.card(network, classes=classes, channels=shape[0], size=size)
    raise errors[0]


def _first_problem(error: RuntimeError) -> str:
    """The first difference that `load_state_dict` lists, in its words."""
    lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
    return lines[0].rstrip(".") if lines else str(error)
