"""Every method by name: the registry that the configuration, the documentation and `distill-worker methods` read."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from distill_worker.methods.base import LOGITS, Batch, Method, Setting, method_name
from distill_worker.methods.ckd import CKD
from distill_worker.methods.crd import CRD
from distill_worker.methods.mixup import CutMix, Mixing, Mixup, Mixup3
from distill_worker.methods.objective import Objective
from distill_worker.methods.pool import PseudoLabel
from distill_worker.methods.relational import CC, PKT, RKD, SP
from distill_worker.methods.single_sample import CE, DIST, DKD, KD, LSKD, TTM, WTTM
from distill_worker.methods.white_box import AT, VID, FitNet

__all__ = [
    "METHODS",
    "AnyMethod",
    "Batch",
    "Method",
    "Mixing",
    "Objective",
    "Setting",
    "described",
    "method_name",
    "why_not_together",
    "why_not_with",
]

AnyMethod = Annotated[
    CE | KD | CKD | DKD | LSKD | DIST | TTM | WTTM | RKD | SP | CC | PKT | CRD | Mixup | Mixup3 | CutMix
    | FitNet | AT | VID | PseudoLabel,
    Field(discriminator="name"),
]  # fmt: skip

METHODS: Mapping[str, type[Method]] = {
    method.model_fields["name"].default: method
    for method in AnyMethod.__origin__.__args__  # type: ignore[attr-defined]
}
"""In the order in which they are listed."""


def described() -> list[dict[str, Any]]:
    """One row for each method: name, what it is, access, paper, needs and defaults."""
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
            return f"{name} needs {' and '.join(_needs(type(method)))}, which a mixture has not"
        if any(mixed.targets == "stored" for mixed in mixing):
            if any(kind != LOGITS for kind in method.teacher_kinds):
                return f"{name} needs features, and those of a mixture are not stored: targets = 'requeried' buys them"
            if method.needs_logits:
                return f"{name} needs logits, and distributions are what is mixed: {method.needs_logits}"
    return None


def why_not_with(methods: Sequence[Method], kind: str) -> str | None:
    """Why these methods cannot learn from this kind of distribution, or None."""
    for method in methods:
        if kind != LOGITS and method.needs_logits is not None:
            return f"{method_name(method)} needs logits, got {kind}: {method.needs_logits}"
    return None


def _needs(method: type[Method]) -> list[str]:
    needs = {
        "one true label a sample": method.needs_labels,
        "samples that it meets again": method.needs_identity,
        "the track unlabelled-pool": method.needs_pool,
        "a key that may see features": method.access == "white box",
        "a key that may see logits (for on = 'logits')": method().needs_logits is not None,
    }
    return [need for need, needed in needs.items() if needed]
