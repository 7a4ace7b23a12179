"""The kinds of output that a teacher may return for an image, and the one grammar of their texts.

Configurations, requests, policies of keys and caches hold these texts.

logits                  the network's logits
log_probabilities       their log-softmax: logits but for one number a sample
probabilities[:D]       the softmax, with D digits after the point where D is given
top_k:K[:D]             the K largest probabilities and their classes
label                   the class of the largest logit
features.LAYER          intermediate features of one layer
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

LOGITS: Final = "logits"
LOG_PROBABILITIES: Final = "log_probabilities"
PROBABILITIES: Final = "probabilities"
TOP_K: Final = "top_k"
LABEL: Final = "label"
FEATURES: Final = "features."

DISTRIBUTIONS: Final = (LOGITS, LOG_PROBABILITIES, PROBABILITIES, TOP_K, LABEL)
"""The outputs that describe the classes, the most informative first."""

AUTO: Final = "auto"
"""In a configuration: the most informative distribution that is available."""

MAX_DIGITS: Final = 8
_EXPECTED: Final = "logits, log_probabilities, probabilities[:digits], top_k:k[:digits], label or features.<layer>"


@dataclass(frozen=True)
class OutputKind:
    """One kind of output. Equal kinds are written alike."""

    name: str
    """Among `DISTRIBUTIONS`, or `features.<layer>`."""
    k: int | None = None
    """The number of classes in `top_k`; None for any other kind."""
    digits: int | None = None
    """Digits after the point, of `probabilities` and `top_k`; None for full float32 precision."""

    def __post_init__(self) -> None:
        is_named = self.name in DISTRIBUTIONS or (self.is_features and self.name != FEATURES)
        if not is_named or (self.name == TOP_K) != (self.k is not None):
            raise ValueError(f"expected {_EXPECTED}, got {str(self)[:60]!r}")
        if self.k is not None and self.k < 1:
            raise ValueError(f"expected top_k of 1 class or more, got {str(self)[:60]!r}")
        if self.digits is not None and self.name not in (PROBABILITIES, TOP_K):
            raise ValueError(f"expected {_EXPECTED}, got {str(self)[:60]!r}")
        if self.digits is not None and not 0 <= self.digits <= MAX_DIGITS:
            raise ValueError(f"expected 0 to {MAX_DIGITS} digits, got {str(self)[:60]!r}")

    @classmethod
    def parse(cls, text: str) -> "OutputKind":
        """A kind from its text.

        Raises:
            ValueError: the text names no kind, or has a number out of range.
        """
        if text.startswith(FEATURES):
            return cls(text)
        name, *rest = text.split(":")
        if len(rest) > 1 + (name == TOP_K) or not all(_is_number(part) for part in rest):
            raise ValueError(f"expected {_EXPECTED}, got {text[:60]!r}")
        numbers = [int(part) for part in rest]
        k = numbers.pop(0) if name == TOP_K and numbers else None
        return cls(name, k, numbers[0] if numbers else None)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return ":".join([self.name, *(str(number) for number in (self.k, self.digits) if number is not None)])

    @property
    def is_features(self) -> bool:
        """Whether it is a layer's features; everything else is a distribution over the classes, or a part of one."""
        return self.name.startswith(FEATURES)

    def shape(self, num_classes: int) -> tuple[int, ...]:
        """Of one sample's output; a layer's features have the shape that their teacher says.

        Raises:
            ValueError: it is features.
        """
        if self.is_features:
            raise ValueError(f"expected a distribution over {num_classes} classes, got {str(self)[:60]!r}")
        if self.k is not None:
            return (min(self.k, num_classes), 2)
        return (1,) if self.name == LABEL else (num_classes,)

    @property
    def information(self) -> tuple[float, ...]:
        """A sort key of how informative the kind is: by its name, then by its classes, then by its digits.

        Raises:
            ValueError: the kind is features, which cannot be compared with a distribution.
        """
        if self.is_features:
            raise ValueError(f"expected a distribution, got {str(self)[:60]!r}")
        digits = inf if self.digits is None else self.digits
        return (-DISTRIBUTIONS.index(self.name), self.k or 0, digits)


def most_informative(texts: Iterable[str]) -> str | None:
    """The most informative distribution among these texts, or None; features and unparsable texts are ignored."""
    kinds = [kind for kind in map(_parsed, texts) if kind is not None and not kind.is_features]
    return str(max(kinds, key=lambda kind: kind.information)) if kinds else None


def _parsed(text: str) -> OutputKind | None:
    try:
        return OutputKind.parse(text)
    except ValueError:
        return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10
