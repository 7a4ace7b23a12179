"""Distillation losses: pure functions of logits, differentiable in the student's alone.

from distill_worker.losses import ckd_loss, kd_loss
"""

from distill_worker.losses.ckd import ckd_loss, draw_groups, drawn_ckd_loss
from distill_worker.losses.kd import kd_loss

__all__ = ["ckd_loss", "draw_groups", "drawn_ckd_loss", "kd_loss"]
