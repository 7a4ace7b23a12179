"""Methods that learn from unlabelled images without bought outputs."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from distill_worker.losses import pseudo_label_loss
from distill_worker.methods.base import Batch, Method, Setting


class PseudoLabel(Method):
    """Pseudo-labels on the unlabelled pool; add it to a method that learns from the teacher."""

    name: Literal["pseudo-label"] = "pseudo-label"
    paper: ClassVar = "Sohn et al. 2020, arXiv 2001.07685 (both views by crop and flip)"
    access: ClassVar = "none"
    needs_pool: ClassVar = True
    weight: float = Field(default=1.0, ge=0)
    threshold: float = Field(default=0.95, ge=0, le=1)

    def make_term(self, _setting: Setting) -> nn.Module:
        """Pseudo-labels on the pool's batch."""
        return _PseudoLabels(self.threshold)


class _PseudoLabels(nn.Module):
    def __init__(self, threshold: float) -> None:
        super().__init__()
        self._threshold = threshold

    def forward(self, batch: Batch) -> Tensor:
        if batch.views is None:
            raise ValueError("track: pseudo-label needs the track 'unlabelled-pool'")
        return pseudo_label_loss(*batch.views, threshold=self._threshold)
