"""Methods that use relations between the samples of a batch.

Their published weights are for features. The weights for logits were chosen on digits with 50 samples, among powers of
ten of the published ones (docs/results/few-calls.md).
"""

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from distill_worker.losses import cc_loss, pkt_loss, rkd_loss, sp_loss
from distill_worker.methods.base import Batch, Setting
from distill_worker.methods.representation import OnRepresentation, Representation, check_dims


class _Relational(OnRepresentation):
    for_features: ClassVar[float]
    for_logits: ClassVar[float]

    weight: float | None = Field(default=None, ge=0)
    """Absent: the published weight for features; for logits, whose scale differs, another one."""

    @property
    def term_weight(self) -> float:
        """The weight, filled in."""
        if self.weight is not None:
            return self.weight
        return self.for_features if self.on == "features" else self.for_logits


class RKD(_Relational):
    """Relational KD: distances between pairs and angles of triplets."""

    name: Literal["rkd"] = "rkd"
    paper: ClassVar = "Park et al. 2019, arXiv 1904.05068"
    for_features: ClassVar = 1.0
    for_logits: ClassVar = 0.1
    distance_weight: float = Field(default=25.0, ge=0)
    angle_weight: float = Field(default=50.0, ge=0)

    @property
    def least_batch(self) -> int:
        """Three: of two samples, the one distance is the mean distance, and every angle is fixed."""
        return 3

    def make_term(self, setting: Setting) -> nn.Module:
        """RKD of the batch's representations."""
        return _Relation(self, setting, rkd_loss, distance_weight=self.distance_weight, angle_weight=self.angle_weight)


class SP(_Relational):
    """Similarity-preserving KD: the batch's matrix of similarities."""

    name: Literal["sp"] = "sp"
    paper: ClassVar = "Tung and Mori 2019, arXiv 1907.09682"
    for_features: ClassVar = 3000.0
    for_logits: ClassVar = 30.0

    def make_term(self, setting: Setting) -> nn.Module:
        """SP of the batch's representations."""
        return _Relation(self, setting, sp_loss)


class CC(_Relational):
    """Correlation congruence: the batch's matrix of kernel correlations."""

    name: Literal["cc"] = "cc"
    paper: ClassVar = "Peng et al. 2019, arXiv 1904.01802; weight of Tian et al. 2020, arXiv 1910.10699"
    for_features: ClassVar = 0.02
    for_logits: ClassVar = 20.0
    gamma: float = Field(default=0.4, gt=0)
    order: int = Field(default=2, ge=1)

    def make_term(self, setting: Setting) -> nn.Module:
        """CC of the batch's representations."""
        term = _Relation(self, setting, cc_loss, gamma=self.gamma, order=self.order)
        check_dims("student_layer", self, setting.student_shapes[term.representation.student_kind][0])
        return term


class PKT(_Relational):
    """Probabilistic knowledge transfer: each sample's distribution over its neighbours in the batch."""

    name: Literal["pkt"] = "pkt"
    paper: ClassVar = "Passalis and Tefas 2018, arXiv 1803.10837; weight of Tian et al. 2020, arXiv 1910.10699"
    for_features: ClassVar = 30000.0
    for_logits: ClassVar = 30.0

    def make_term(self, setting: Setting) -> nn.Module:
        """PKT of the batch's representations."""
        return _Relation(self, setting, pkt_loss)


class _Relation(nn.Module):
    def __init__(self, method: OnRepresentation, setting: Setting, loss: Any, **parameters: Any) -> None:
        super().__init__()
        self.representation = Representation(method, setting, equal_dims=False)
        self._loss = loss
        self._parameters_of_loss = parameters

    def forward(self, batch: Batch) -> Tensor:
        value: Tensor = self._loss(*self.representation(batch), **self._parameters_of_loss)
        return value
