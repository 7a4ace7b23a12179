"""Distillation losses: pure functions, differentiable in the student alone.

    from distill_worker.losses import ckd_loss, kd_loss
    loss = ckd_loss(student_logits, teacher_logits, temperature=4.0)

Logits are `[batch, classes]`; the relational losses take any rows `[batch, dims]`. All work under torch.compile, under
autocast (half-precision inputs are computed in float32) and in float64.
"""

from distill_worker.losses.at import at_loss
from distill_worker.losses.cc import cc_loss
from distill_worker.losses.ckd import (
    centroid_ckd_loss,
    ckd_loss,
    cross_ckd_loss,
    drawn_ckd_loss,
)
from distill_worker.losses.comparisons import draw_groups, share_a_sample
from distill_worker.losses.crd import crd_loss, crd_normaliser
from distill_worker.losses.dist import dist_loss
from distill_worker.losses.dkd import dkd_loss
from distill_worker.losses.fitnet import fitnet_loss
from distill_worker.losses.kd import kd_loss
from distill_worker.losses.lskd import lskd_loss
from distill_worker.losses.mse import logit_variance, mse_loss
from distill_worker.losses.mse_ckd import (
    mse_centroid_ckd_loss,
    mse_ckd_loss,
    mse_cross_ckd_loss,
    mse_drawn_ckd_loss,
)
from distill_worker.losses.pkt import pkt_loss
from distill_worker.losses.pseudo_label import pseudo_label_loss
from distill_worker.losses.rkd import rkd_loss
from distill_worker.losses.sp import sp_loss
from distill_worker.losses.ttm import ttm_loss, wttm_loss
from distill_worker.losses.vid import vid_loss

__all__ = [
    "at_loss",
    "cc_loss",
    "centroid_ckd_loss",
    "ckd_loss",
    "crd_loss",
    "crd_normaliser",
    "cross_ckd_loss",
    "dist_loss",
    "dkd_loss",
    "draw_groups",
    "drawn_ckd_loss",
    "fitnet_loss",
    "kd_loss",
    "logit_variance",
    "lskd_loss",
    "mse_centroid_ckd_loss",
    "mse_ckd_loss",
    "mse_cross_ckd_loss",
    "mse_drawn_ckd_loss",
    "mse_loss",
    "pkt_loss",
    "pseudo_label_loss",
    "rkd_loss",
    "share_a_sample",
    "sp_loss",
    "ttm_loss",
    "vid_loss",
    "wttm_loss",
]
