"""The loss terms of the methods, and the objective that they add up to."""

from distill_worker.methods.terms import ckd, crd, mixup, pool, relational, single_sample, white_box
from distill_worker.methods.terms.base import Batch, Setting
from distill_worker.methods.terms.objective import Objective

__all__ = ["Batch", "Objective", "Setting"]

_MODULES = (single_sample, ckd, relational, crd, mixup, white_box, pool)
"""To import a module registers its terms."""
