"""The outputs of the model that a key may request: a list of output kinds (`shared.output_kinds`), with commas between.

An example is `probabilities:3,top_k:5,label`. Besides the kinds, `features` stands for the features of every layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from shared.output_kinds import DISTRIBUTIONS, FEATURES, LOGITS, TOP_K, OutputKind

TOP_K_INDICES: Final = "top_k_indices"
"""The output that holds the classes of `top_k`; a key that may request one may request both."""

_ALL_FEATURES: Final = "features"
_EVERY_LAYER: Final = FEATURES + "*"


@dataclass(frozen=True)
class OutputPolicy:
    """The output kinds that a key may request. Equal policies have equal texts."""

    kinds: frozenset[OutputKind] = frozenset({OutputKind(LOGITS)})
    """At most one of each name; `features.*` is every layer's."""

    @classmethod
    def parse(cls, text: str) -> "OutputPolicy":
        """A policy from its text.

        Raises:
            ValueError: an entry is no output kind, comes twice, or has a number out of range.
        """
        return _parse(text)

    def __str__(self) -> str:
        """The text that `parse` reads, in one order."""
        distributions = [str(self._by_name[name]) for name in DISTRIBUTIONS if name in self._by_name]
        layers = sorted(name for name in self._by_name if name not in DISTRIBUTIONS)
        return ",".join([*distributions, *(_ALL_FEATURES if name == _EVERY_LAYER else name for name in layers)])

    @property
    def default(self) -> tuple[str, ...]:
        """The output of a request that names none: the most informative; none where the key has only features."""
        return next(((name,) for name in DISTRIBUTIONS if name in self._by_name), ())

    @property
    def sees_features(self) -> bool:
        """Whether any layer's features may be requested."""
        return any(kind.is_features for kind in self.kinds)

    @property
    def digits(self) -> Mapping[str, int]:
        """The digits after the point of `probabilities` and `top_k`, where they are limited."""
        return {kind.name: kind.digits for kind in self.kinds if kind.digits is not None}

    @property
    def k(self) -> int:
        """The number of classes in `top_k`; 0 without it."""
        return self._by_name[TOP_K].k or 0 if TOP_K in self._by_name else 0

    def sees(self, output: str) -> bool:
        """Whether an output of this name may be requested."""
        if output.startswith(FEATURES) and _EVERY_LAYER in self._by_name:
            return True
        return (TOP_K if output == TOP_K_INDICES else output) in self._by_name

    @cached_property
    def _by_name(self) -> Mapping[str, OutputKind]:
        return {kind.name: kind for kind in self.kinds}


@lru_cache(maxsize=1024)
def _parse(text: str) -> OutputPolicy:
    kinds: dict[str, OutputKind] = {}
    for entry in (entry.strip() for entry in text.split(",")):
        try:
            kind = OutputKind.parse(_EVERY_LAYER if entry == _ALL_FEATURES else entry)
        except ValueError as error:
            raise ValueError(f"outputs: {error} (or `features`, for every layer)") from error
        if kind.is_features and ":" in kind.name:  # the digits of features cannot be limited
            raise ValueError(f"outputs: expected features or features.<layer>, without a colon, got {entry[:60]!r}")
        if kind.name in kinds:
            raise ValueError(f"outputs: expected each kind once, got {entry[:60]!r} again")
        kinds[kind.name] = kind
    if _EVERY_LAYER in kinds:
        kinds = {name: kind for name, kind in kinds.items() if not kind.is_features or name == _EVERY_LAYER}
    return OutputPolicy(frozenset(kinds.values()))


LOGITS_ALONE: Final = OutputPolicy()
EXAMPLE: Final = "probabilities:3,top_k:5,label"
