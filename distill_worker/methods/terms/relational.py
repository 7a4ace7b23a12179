"""Terms that use relations between the samples of a batch."""

from typing import Any

from torch import Tensor, nn

from distill_worker.losses import cc_loss, pkt_loss, rkd_loss, sp_loss
from distill_worker.methods.relational import CC, PKT, RKD, SP
from distill_worker.methods.representation import OnRepresentation
from distill_worker.methods.terms.base import Batch, Setting, make_term
from distill_worker.methods.terms.representation import Representation, check_dims


@make_term.register
def _rkd(method: RKD, setting: Setting) -> nn.Module:
    return _Relation(
        method, setting, rkd_loss, distance_weight=method.distance_weight, angle_weight=method.angle_weight
    )


@make_term.register
def _sp(method: SP, setting: Setting) -> nn.Module:
    return _Relation(method, setting, sp_loss)


@make_term.register
def _cc(method: CC, setting: Setting) -> nn.Module:
    term = _Relation(method, setting, cc_loss, gamma=method.gamma, order=method.order)
    check_dims("student_layer", method, setting.student_shapes[term.representation.student_kind][0])
    return term


@make_term.register
def _pkt(method: PKT, setting: Setting) -> nn.Module:
    return _Relation(method, setting, pkt_loss)


class _Relation(nn.Module):
    def __init__(self, method: OnRepresentation, setting: Setting, loss: Any, **parameters: Any) -> None:
        super().__init__()
        self.representation = Representation(method, setting, equal_dims=False)
        self._loss = loss
        self._parameters_of_loss = parameters

    def forward(self, batch: Batch) -> Tensor:
        value: Tensor = self._loss(*self.representation(batch), **self._parameters_of_loss)
        return value
