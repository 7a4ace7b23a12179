"""Every method by name: the registry that the configuration, the documentation and `distill-worker methods` read.

A method is registered by being a class with a name in one of the modules of `_MODULES`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from distill_worker.methods import ckd, crd, mixup, pool, relational, single_sample, white_box
from distill_worker.methods.base import LOGITS, Method, method_name
from distill_worker.methods.mixup import Mixing

__all__ = [
    "METHODS",
    "AnyMethod",
    "Method",
    "Mixing",
    "described",
    "method_name",
    "why_not_on",
    "why_not_together",
    "why_not_with",
]

_MODULES = (single_sample, ckd, relational, crd, mixup, white_box, pool)

METHODS: Mapping[str, type[Method]] = {
    value.model_fields["name"].default: value
    for module in _MODULES
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Method) and "name" in value.model_fields
}
"""In the order in which they are listed: by module, then as the module defines them."""

if TYPE_CHECKING:
    AnyMethod = Method
else:
    AnyMethod = Annotated[Union[*METHODS.values()], Field(discriminator="name")]
"""The type of a configuration's field that takes any method and chooses it by its name."""


def described() -> list[dict[str, Any]]:
    """One row for each method: name, summary, access, paper, needs and defaults."""
    return [
        {
            "name": name,
            "summary": (method.__doc__ or "").splitlines()[0],
            "access": method.access,
            "paper": method.paper,
            "needs": _needs(method),
            "defaults": method().model_dump(mode="json", exclude={"name"}),
        }
        for name, method in METHODS.items()
    ]


def why_not_together(methods: Sequence[Method]) -> str | None:
    """Why these methods cannot be added up, or None."""
    names = [method_name(method) for method in methods]
    if len(set(names)) < len(names):
        return f"expected different methods, got {', '.join(names)}"
    mixing = [method for method in methods if isinstance(method, Mixing)]
    if len(mixing) > 1:
        return f"expected at most one method that mixes, got {', '.join(names)}"
    for method, name in zip(methods, names, strict=True):
        if mixing and (method.needs_labels or method.needs_identity):
            return f"{name} needs {' and '.join(_needs(type(method)))}, which a mixture lacks"
        if any(mixed.targets == "stored" for mixed in mixing):
            if any(kind != LOGITS for kind in method.teacher_kinds):
                return f"{name} needs features, and those of a mixture are not stored: targets = 'requeried' buys them"
            if method.needs_logits:
                return f"{name} needs logits, and mixtures have only distributions: {method.needs_logits}"
    return None


def why_not_with(methods: Sequence[Method], kind: str) -> str | None:
    """Why these methods cannot learn from this kind of distribution, or None."""
    for method in methods:
        if kind != LOGITS and method.needs_logits is not None:
            return f"{method_name(method)} needs logits, got {kind}: {method.needs_logits}"
    return None


def why_not_on(methods: Sequence[Method], *, num_classes: int, batch: int) -> str | None:
    """Why one of these methods can learn nothing from so many classes, or from batches of so many samples, or None."""
    for method in methods:
        reason = method.why_not_on(num_classes, batch) if method.term_weight else None
        if reason is not None:
            return f"{method_name(method)} {reason}"
    return None


def _needs(method: type[Method]) -> list[str]:
    needs = {
        "one true label a sample": method.needs_labels,
        "samples that come again": method.needs_identity,
        "the track unlabelled-pool": method.needs_pool,
        "a key that may see features": method.access == "white box",
        "a key that may see logits (for on = 'logits')": method().needs_logits is not None,
    }
    return [need for need, needed in needs.items() if needed]
