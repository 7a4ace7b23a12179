"""Methods that use relations between the samples of a batch.

Their published weights are for features. The weights for logits were chosen on digits with 50 samples, among powers of
ten of the published ones (docs/results/few-calls.md).
"""

from typing import ClassVar, Literal

from pydantic import Field

from distill_worker.methods.representation import OnRepresentation


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
    """The weight of the distances between pairs."""
    angle_weight: float = Field(default=50.0, ge=0)
    """The weight of the angles of triplets."""

    @property
    def least_batch(self) -> int:
        """Three: of two samples, the one distance is the mean distance, and every angle is fixed."""
        return 3


class SP(_Relational):
    """Similarity-preserving KD: the batch's matrix of similarities."""

    name: Literal["sp"] = "sp"
    paper: ClassVar = "Tung and Mori 2019, arXiv 1907.09682"
    for_features: ClassVar = 3000.0
    for_logits: ClassVar = 30.0


class CC(_Relational):
    """Correlation congruence: the batch's matrix of kernel correlations."""

    name: Literal["cc"] = "cc"
    paper: ClassVar = "Peng et al. 2019, arXiv 1904.01802; weight of Tian et al. 2020, arXiv 1910.10699"
    for_features: ClassVar = 0.02
    for_logits: ClassVar = 20.0
    gamma: float = Field(default=0.4, gt=0)
    """The width of the kernel: larger values compare nearer samples."""
    order: int = Field(default=2, ge=1)
    """The terms of the kernel's Taylor series."""


class PKT(_Relational):
    """Probabilistic knowledge transfer: each sample's distribution over its neighbours in the batch."""

    name: Literal["pkt"] = "pkt"
    paper: ClassVar = "Passalis and Tefas 2018, arXiv 1803.10837; weight of Tian et al. 2020, arXiv 1910.10699"
    for_features: ClassVar = 30000.0
    for_logits: ClassVar = 30.0
