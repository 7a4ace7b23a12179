"""Terms that learn from unlabelled images without bought outputs."""

from torch import Tensor, nn

from distill_worker.losses import pseudo_label_loss
from distill_worker.methods.pool import PseudoLabel
from distill_worker.methods.terms.base import Batch, Setting, make_term


@make_term.register(PseudoLabel)
class _PseudoLabels(nn.Module):
    def __init__(self, method: PseudoLabel, _setting: Setting) -> None:
        super().__init__()
        self._threshold = method.threshold

    def forward(self, batch: Batch) -> Tensor:
        if batch.views is None:
            raise ValueError("track: pseudo-label needs the track 'unlabelled-pool'")
        return pseudo_label_loss(*batch.views, threshold=self._threshold)
