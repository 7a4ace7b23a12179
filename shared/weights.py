"""The weights file: a safetensors file that describes itself, so that one path is enough to serve or evaluate it.

Invariant: the fingerprint depends on everything that changes an output or its meaning (network, tensors, preprocessing,
class names) and on nothing else (not on where the weights came from, nor on how the file was written). The file does
not hold the code of a network from a factory (`<module>:<factory>`): if that differs from the code with which the file
was written, the fingerprint differs too. Files of earlier versions do not name their code: theirs does not cover it.
"""

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from shared.degradation import Degradation
from shared.expectations import complaints
from shared.networks import build_network, runs_code, source_digest
from shared.networks.draws import draws_from
from shared.networks.given import is_at_hand, is_given

CARD: Final = "tuition"
"""Where a file's metadata keep its card, as JSON."""
FINGERPRINT_LENGTH: Final = 16
_UNKNOWN_TO_NUMPY: Final = (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
_CODE: Final = "code"
_WRITTEN_BY: Final = (
    "`distill-worker train` writes such files, and `teacher-service pack` makes one of a model that you have"
)


class WeightsError(ValueError):
    """A file that is not a self-describing weights file; the message says what is missing and how to make one."""


class WeightsCard(BaseModel):
    """The description of a weights file, stored as JSON under the key `tuition` of the safetensors metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    num_classes: int = Field(ge=2)
    in_channels: int = Field(ge=1)
    image_size: tuple[int, int]
    """Height and width in pixels."""
    resize: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width that the network sees, where that is not the images' own size."""
    mean: tuple[float, ...]
    """Per channel, in units of pixel / 255: the network sees (pixel / 255 - mean) / std."""
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    degradation: Degradation | None = None
    """How the network's logits are degraded before they are returned, where the teacher is made worse on purpose."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """Where the weights came from: data set, method, seed. Not part of the fingerprint."""

    @model_validator(mode="after")
    def _lengths_agree(self) -> "WeightsCard":
        if len(self.mean) != self.in_channels or len(self.std) != self.in_channels:
            raise ValueError(f"mean and std: expected one value for each of {self.in_channels} channels")
        if not all(0 < value < math.inf for value in self.std) or not all(map(math.isfinite, self.mean)):
            raise ValueError(
                f"mean and std: expected finite values, and positive ones for std, got {self.mean}, {self.std}"
            )
        if len(self.class_names) != self.num_classes:
            raise ValueError(f"class_names: expected {self.num_classes} names, got {len(self.class_names)}")
        return self


def weights_bytes(network: nn.Module, card: WeightsCard) -> bytes:
    """The file's content; the caller writes it. Tensors that share memory are written each by itself."""
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    return save(state, metadata={CARD: card.model_dump_json()})


def load_weights(
    path: Path, *, trust_code: bool = False, network: str | None = None
) -> tuple[WeightsCard, nn.Module, str]:
    """The card, the network in evaluation mode on the CPU, and the fingerprint.

    Args:
        path: the file.
        trust_code: whether the file may name a factory (`<module>:<factory>`), whose code is then run.
        network: the name to build the network by, if not the card's: the file of its factory is in another place, or
            it is a module that is given.

    Raises:
        WeightsError: the file is missing, damaged, does not describe itself, or names code that is not trusted.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: expected a safetensors file, got one that cannot be read ({error}); {_WRITTEN_BY}"
        ) from error
    if CARD not in metadata:
        raise WeightsError(
            f"{path}: the file does not describe itself (no {CARD!r} entry in its metadata); {_WRITTEN_BY}"
        )
    card = read_card(path, metadata[CARD])
    name = network or card.network
    if runs_code(name) and not trust_code:
        raise WeightsError(
            f"{path}: its network {card.network!r} is code from elsewhere, which would run when the file is loaded; "
            "pass --trust-code if you trust the file's author"
        )
    if is_given(name) and not is_at_hand(name):
        raise WeightsError(
            f"{path}: its network {name!r} is a module that was given in Python, and the file does not hold its code; "
            "load it in Python: distill_worker.load(path, network=module)"
        )
    try:
        built = network_of(card, state, name)
        identity = _with_code(fingerprint(card, state), card, name)
    except (ValueError, RuntimeError, TypeError) as error:
        raise WeightsError(f"{path}: the description does not fit the tensors ({error})") from error
    return card, built, identity


def network_of(card: WeightsCard, state: Mapping[str, Tensor], name: str) -> nn.Module:
    """The network of this name with the tensors of a file, in evaluation mode on the CPU.

    Args:
        card: of the file.
        state: the file's tensors.
        name: the network's name: that in the card, or another for the same network. A factory's code is run.

    Raises:
        ValueError: as `build_network`.
        RuntimeError: the tensors are not those of the network.
    """
    with draws_from(_seed_of(card)):
        built = build_network(name, num_classes=card.num_classes, in_channels=card.in_channels)
    built.load_state_dict(state)
    return built.eval()


def read_card(path: Path, text: str) -> WeightsCard:
    """The card of the file at `path`, from its JSON.

    Raises:
        WeightsError: the text is no card.
    """
    try:
        return WeightsCard.model_validate_json(text)
    except ValidationError as error:
        raise WeightsError(f"{path}: the description does not fit the tensors ({complaints(error)})") from error


def canonical_card(card: WeightsCard) -> bytes:
    """The fields of the card that change an output or its meaning, as canonical JSON.

    A field that the first cards did not have is left out where it is None, so that adding it changed no fingerprint.
    """
    left_out = {"provenance"} | {name for name in ("degradation", "resize") if getattr(card, name) is None}
    return json.dumps(card.model_dump(mode="json", exclude=left_out), sort_keys=True).encode()


def code_provenance(network: str) -> dict[str, str]:
    """The entry of a card's provenance for the code that a network's name runs; none if it runs no code.

    Raises:
        ValueError: as `source_digest`.
    """
    digest = source_digest(network)
    return {} if digest is None else {_CODE: digest}


def fingerprint(card: WeightsCard, state: Mapping[str, Tensor]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 over the canonical card and the tensors, sorted by name."""
    digest = sha256(canonical_card(card))
    for name in sorted(state):
        values = state[name].detach().cpu().contiguous()
        kind = str(values.dtype)
        if values.dtype not in _UNKNOWN_TO_NUMPY:
            kind = values.numpy().dtype.str
        digest.update(f"{name}:{kind}:{tuple(values.shape)}:".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:FINGERPRINT_LENGTH]


def _with_code(identity: str, card: WeightsCard, network: str) -> str:
    """The fingerprint, which becomes another if the network's code is not the one that the card names."""
    written_with = card.provenance.get(_CODE)
    if written_with is None or (now := source_digest(network)) == written_with:
        return identity
    return sha256(f"{identity}:{now}".encode()).hexdigest()[:FINGERPRINT_LENGTH]


def _seed_of(card: WeightsCard) -> int:
    """The seed of the training, so that what a network draws for itself and the file lacks is drawn again the same."""
    seed = card.provenance.get("seed")
    return seed if isinstance(seed, int) else 0
