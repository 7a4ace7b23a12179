"""Every method by name: the registry that the configuration, the documentation and `distill-worker methods` read."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from distill_worker.methods.base import Batch, Method, Setting, method_name
from distill_worker.methods.ckd import CKD
from distill_worker.methods.crd import CRD
from distill_worker.methods.mixed import CutMix, Mixing, Mixup, Mixup3
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
    return None


def _needs(method: type[Method]) -> list[str]:
    needs = {
        "one true label a sample": method.needs_labels,
        "samples that it meets again": method.needs_identity,
        "the track unlabelled-pool": method.needs_pool,
        "a key that may see features": method.access == "white box",
    }
    return [need for need, needed in needs.items() if needed]
