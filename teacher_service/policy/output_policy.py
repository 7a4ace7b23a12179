"""What a key may see of the model: `logits`, or less, or more.

    logits                  the network's logits
    log_probabilities       their log-softmax: logits but for one number a sample
    probabilities[:D]       the softmax, with D digits after the point where D is given
    top_k:K[:D]             the K largest probabilities and their classes
    label                   the class of the largest logit
    features[.LAYER]        intermediate features, of every layer or of one

A policy is written as such entries with commas between, as in `probabilities:3,top_k:5,label`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

LOGITS: Final = "logits"
LOG_PROBABILITIES: Final = "log_probabilities"
PROBABILITIES: Final = "probabilities"
TOP_K: Final = "top_k"
TOP_K_INDICES: Final = "top_k_indices"
LABEL: Final = "label"
FEATURES: Final = "features"

KINDS: Final = (LOGITS, LOG_PROBABILITIES, PROBABILITIES, TOP_K, LABEL)
"""Everything but features, the most telling first."""

_MAX_DIGITS: Final = 8
_EXPECTED: Final = "logits, log_probabilities, probabilities[:digits], top_k:k[:digits], label or features[.layer]"


@dataclass(frozen=True)
class OutputPolicy:
    """What a key may see. Equal policies are written alike."""

    kinds: frozenset[str] = frozenset({LOGITS})
    """Names among `KINDS`."""
    digits: Mapping[str, int] = field(default_factory=dict, hash=False)
    """After the point, of `probabilities` and `top_k`; all of them where it is not said."""
    k: int = 0
    """How many classes `top_k` tells; 0 without it."""
    layers: frozenset[str] = frozenset()
    """Layers whose features may be seen; `*` is every one."""

    @classmethod
    def parse(cls, text: str) -> "OutputPolicy":
        """A policy from its text.

        Raises:
            ValueError: an entry is not one of those, comes twice, or has a number out of range.
        """
        return _parse(text)

    def __str__(self) -> str:
        """The text that `parse` reads, in one order."""
        entries = [self._entry(kind) for kind in KINDS if kind in self.kinds]
        entries += ["features" if layer == "*" else f"features.{layer}" for layer in sorted(self.layers)]
        return ",".join(entries)

    @property
    def default(self) -> tuple[str, ...]:
        """What is given when nothing is asked for by name: the most telling kind; nothing when only features are."""
        return next(((kind,) for kind in KINDS if kind in self.kinds), ())

    @property
    def sees_features(self) -> bool:
        """Whether any layer's features may be seen."""
        return bool(self.layers)

    def sees(self, output: str) -> bool:
        """Whether an output of this name may be asked for."""
        if output.startswith(FEATURES + "."):
            return "*" in self.layers or output.removeprefix(FEATURES + ".") in self.layers
        return (TOP_K if output == TOP_K_INDICES else output) in self.kinds

    def _entry(self, kind: str) -> str:
        parts = [kind, *([str(self.k)] if kind == TOP_K else [])]
        return ":".join([*parts, *([str(self.digits[kind])] if kind in self.digits else [])])


@lru_cache(maxsize=1024)
def _parse(text: str) -> OutputPolicy:
    kinds: set[str] = set()
    layers: set[str] = set()
    digits: dict[str, int] = {}
    k = 0
    for entry in text.split(","):
        name, *numbers = entry.strip().split(":")
        if name == FEATURES or name.startswith(FEATURES + "."):
            layer = name.removeprefix(FEATURES).removeprefix(".") or "*"
            if numbers or layer in layers or name == FEATURES + ".":
                raise ValueError(f"outputs: expected {_EXPECTED}, each once, got {entry[:60]!r}")
            layers.add(layer)
            continue
        most = {PROBABILITIES: 1, TOP_K: 2}.get(name, 0)
        whole = all(number.isascii() and number.isdecimal() and len(number) < 10 for number in numbers)
        if name not in KINDS or name in kinds or len(numbers) > most or not whole or (name == TOP_K and not numbers):
            raise ValueError(f"outputs: expected {_EXPECTED}, each once, got {entry[:60]!r}")
        kinds.add(name)
        if name == TOP_K:
            k = int(numbers.pop(0))
            if k < 1:
                raise ValueError(f"outputs: expected top_k of 1 class or more, got {entry!r}")
        if numbers:
            digits[name] = int(numbers[0])
            if digits[name] > _MAX_DIGITS:
                raise ValueError(f"outputs: expected 0 to {_MAX_DIGITS} digits, got {entry!r}")
    return OutputPolicy(frozenset(kinds), digits, k, frozenset({"*"} if "*" in layers else layers))


LOGITS_ALONE: Final = OutputPolicy()
EXAMPLE: Final = "probabilities:3,top_k:5,label"
