"""Comparative knowledge distillation as a method: which comparisons a step makes."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from distill_worker.methods.base import WeighedByClasses
from distill_worker.methods.representation import OnRepresentation

Comparison = Literal["difference", "addition", "interpolation", "concatenation"]
"""How `losses.ckd_loss` compares two samples."""


class CKD(OnRepresentation, WeighedByClasses):
    """Comparative KD: the student learns how the teacher's outputs differ between samples."""

    name: Literal["ckd"] = "ckd"
    paper: ClassVar = "Wilf et al. 2023, arXiv 2311.02253"
    weight_name: ClassVar = "beta"
    temperature: float = Field(default=4.0, gt=0)
    """For `kl`; squared error has none."""
    beta: float = Field(default=1.0, ge=0)
    """The weight of the comparisons."""
    divergence: Literal["kl", "mse"] = "kl"
    """How far compared student logits are from the teacher's. `kl`: the divergence of their softmaxes, as in the paper.
    `mse`: their squared error, centred over the classes and divided by twice the variance of the teacher's outputs, as
    in the second release of the authors' code but for the scale."""
    k: int = Field(default=2, ge=2)
    """Samples a comparison: ceil(k / 2) in group A, the rest in group B."""
    pairing: Literal["all", "drawn", "memory", "anchors"] = "all"
    """`all`: every A with every B of the batch. `drawn`: random groups of k, each by itself, as the authors do.
    `memory`: the batch with past student outputs. `anchors`: the batch with the teacher's own bought outputs."""
    comparison: Comparison = "difference"
    """How two samples, or groups, are compared. The paper's is `difference`."""
    comparisons: int = Field(default=1024, ge=1)
    """For `drawn`: groups a step."""
    groups: int = Field(default=64, ge=1)
    """For k > 2 and not `drawn`: groups drawn a step on each side, all of them compared."""
    others: int = Field(default=256, ge=2)
    """For `memory` and `anchors`: how many past or bought outputs a batch is compared with."""
    label_term: Literal["cross_entropy", "comparative"] = "cross_entropy"
    """`comparative`: the classification term is the same comparison with one-hot labels in the teacher's place, as in
    the authors' code; the paper's text has cross-entropy. With `mse` it has the same divisor."""

    @model_validator(mode="after")
    def _squared_error_compares(self) -> "CKD":
        if self.divergence == "mse" and (self.comparison == "concatenation" or self.pairing == "anchors"):
            raise ValueError(
                "divergence 'mse': expected a comparison other than 'concatenation' and a pairing other than "
                f"'anchors', got {self.comparison!r} and {self.pairing!r}: by squared error these compare nothing and "
                "are logit regression; use the method mse"
            )
        return self

    @model_validator(mode="after")
    def _labels_have_logits(self) -> "CKD":
        if self.label_term == "comparative" and self.on == "features":
            raise ValueError("label_term 'comparative' compares logits with labels, got on = 'features'")
        return self

    @model_validator(mode="after")
    def _softmaxes_are_weighed_by_classes(self) -> "CKD":
        if self.by_classes and (self.divergence == "mse" or self.on == "features"):
            raise ValueError(
                "by_classes: expected false, because only the divergence 'kl' of outputs shrinks with the number of "
                f"classes, got divergence = {self.divergence!r} and on = {self.on!r}"
            )
        return self

    @property
    def teaches_classes(self) -> bool:
        """Not if only differences between student outputs are compared: what all outputs have in common cancels out."""
        return self.on == "logits" and (self.comparison != "difference" or self.pairing == "anchors")

    def softened(self, temperature: float) -> Self:
        """This method with another temperature; itself if it takes squared errors, which have none."""
        return self if self.divergence == "mse" else super().softened(temperature)

    @property
    def needs_logits(self) -> str | None:
        """None: a number that is added to all logits of a sample is added to all classes of its comparisons."""
        return None

    @property
    def least_batch(self) -> int:
        """The samples of one comparison."""
        return self.k
