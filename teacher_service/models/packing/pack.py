"""Packing: a model in whatever kind of file becomes one file that describes itself.

Invariant: the source is never changed, and no code in it runs unless its author is trusted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import nn

from shared.networks.outputs import check_network
from shared.weights import WeightsCard, WeightsError, code_provenance, network_of, weights_bytes
from teacher_service.models.archives.archive_file import ArchiveFile
from teacher_service.models.archives.archive_teacher import tried
from teacher_service.models.archives.programs import load_program
from teacher_service.models.file_kind import ARCHIVES, FileKind, kind_of
from teacher_service.models.onnx import OnnxModel
from teacher_service.models.onnx_message import with_card
from teacher_service.models.packing.advice import without_card
from teacher_service.models.packing.checkpoint import load_checkpoint
from teacher_service.models.packing.class_names import remarks
from teacher_service.models.packing.counts import channels_of, classes_of, shapes_of
from teacher_service.models.packing.description import Description, Shape, first_that_runs
from teacher_service.models.packing.state_dict import StateDict, state_dict_for
from teacher_service.models.packing.traced import traced_archive
from teacher_service.models.packing.whole_network import card_of

_NAMES: Final = {FileKind.TORCHSCRIPT: "torchscript", FileKind.EXPORTED: "torch-export", FileKind.ONNX: "onnx"}
"""The network in the card of a file that holds its own computation."""
_CPU: Final = torch.device("cpu")


@dataclass(frozen=True)
class PackRequest:
    """A model's file, and what the person who packs it states."""

    source: Path
    description: Description
    network: str | None = None
    """The name of the network of a state dict."""
    trust_code: bool = False
    """Whether the code of an archive may run."""
    trust_pickle: bool = False
    """Whether a pickled file may run code."""


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
    if kind is FileKind.WEIGHTS:
        raise _has_card(request)
    if kind in ARCHIVES:
        packed = _of_archive(request)
    elif kind is FileKind.ONNX:
        packed = _of_onnx(request)
    elif kind in (FileKind.TENSORS, FileKind.CHECKPOINT):
        packed = _of_checkpoint(request, kind)
    else:
        raise without_card(request.source, kind)
    notes = (*packed.remarks, *remarks(packed.card.class_names))
    if request.description.class_names is None:
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
    card = request.description.card(
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
    network = network.cpu().float().eval()
    card = card_of(network, _NAMES[FileKind.EXPORTED], request.description)
    note = f"the network {type(network).__name__} was saved as a program of torch.export, which needs its code no more"
    return Packed(FileKind.EXPORTED, card, traced_archive(network, card), (note,))


def _of_archive(request: PackRequest) -> Packed:
    file = ArchiveFile.read(request.source)
    if file.card is not None:
        raise _has_card(request)
    if not request.trust_code:
        raise WeightsError(
            f"{request.source}: it is {file.kind.value}, whose code runs when it is loaded; pass --trust-code if you "
            "trust the file's author"
        )
    program = load_program(file, _CPU)
    card = _card(
        request,
        _NAMES[file.kind],
        program.image_shape or (),
        lambda shape: tried(program, request.source, shape, _CPU)[1],
    )
    return Packed(file.kind, card, file.with_card(card))


def _of_onnx(request: PackRequest) -> Packed:
    model = OnnxModel.open(request.source, "cpu")
    if model.card is not None:
        raise _has_card(request)
    logits = [name for name, _ in model.outputs[:1]]
    card = _card(
        request,
        _NAMES[FileKind.ONNX],
        model.input_shape[1:],
        lambda shape: model.tried(logits, shape)[0].shape[1],
    )
    content = with_card(model.content, card.model_dump_json())
    return Packed(FileKind.ONNX, card, content, beside=tuple(model.external))


def _card(
    request: PackRequest, network: str, shape: Sequence[int | None], classes_for: Callable[[Shape], int]
) -> WeightsCard:
    """The card of a model that holds its own computation.

    Args:
        request: what is stated.
        network: its name in the card.
        shape: channels, height and width as the model states them; None for one that it does not.
        classes_for: the number of classes, from a pass over images of a shape.
    """
    channels, height, width = shape if len(shape) == 3 else (None, None, None)
    size = (height, width) if height is not None and width is not None else None
    seen, classes = first_that_runs(request.description.image_shapes(channels, size), classes_for)
    return request.description.card(network, classes=classes, channels=seen[0], size=size)


def _has_card(request: PackRequest) -> ValueError:
    """The error for a file with a card: another one would drop what it says of a degradation or of a training."""
    return ValueError(
        f"{request.source}: expected a file without a card, got one that describes itself already. Serve it "
        f"(teacher-service serve --weights {request.source}), or pack the file that it was made from"
    )


def _first_problem(error: RuntimeError) -> str:
    """The first difference that `load_state_dict` lists, in its words."""
    lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
    return lines[0].rstrip(".") if lines else str(error)
