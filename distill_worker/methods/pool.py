"""Methods that learn from unlabelled images without bought outputs."""

from typing import ClassVar, Literal

from pydantic import Field

from distill_worker.methods.base import Method


class PseudoLabel(Method):
    """Pseudo-labels on the unlabelled pool; add it to a method that learns from the teacher."""

    name: Literal["pseudo-label"] = "pseudo-label"
    paper: ClassVar = "Sohn et al. 2020, arXiv 2001.07685"
    access: ClassVar = "none"
    needs_pool: ClassVar = True
    weight: float = Field(default=1.0, ge=0)
    """The weight of the term."""
    threshold: float = Field(default=0.95, ge=0, le=1)
    """The probability from which the student's likeliest class becomes a label."""
    strong_view: bool = False
    """Distort the view that learns by the policy `strong`, as in the paper; the view that labels is cropped and
    flipped. Otherwise both views are by `augmentation.policy`."""
