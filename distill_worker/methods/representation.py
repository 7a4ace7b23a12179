"""The representation of a sample that a relational method uses: its logits, or features of one layer."""

from typing import Literal

from pydantic import Field

from distill_worker.methods.base import LOGITS, Method

FEATURES = "features."


class OnRepresentation(Method):
    """The part of a configuration that chooses the representation."""

    on: Literal["logits", "log_probabilities", "features"] = "logits"
    """`features` needs a key that may see them."""
    teacher_layer: str = Field(default="pooled", min_length=1)
    """For `features`: maps are averaged over their area."""
    student_layer: str = Field(default="pooled", min_length=1)
    """For `features`: the student's layer."""

    @property
    def teacher_kinds(self) -> tuple[str, ...]:
        """Logits, and the layer's features if the method uses them."""
        return (LOGITS, FEATURES + self.teacher_layer) if self.on == "features" else (LOGITS,)

    @property
    def needs_logits(self) -> str | None:
        """On logits: the comparison changes with the constant that a sample's log-probabilities lack."""
        if self.on != "logits":
            return None
        return (
            "it compares samples by the logits themselves, from which log-probabilities differ by another constant "
            "for each sample; set method.on = 'log_probabilities' to learn from any distribution"
        )

    def why_not_on(self, _num_classes: int, batch: int) -> str | None:
        """Too few samples to compare."""
        if batch >= self.least_batch:
            return None
        return (
            f"needs batches of at least {self.least_batch} samples, got {batch}: it compares samples with each other. "
            "Use more samples or another method"
        )

    @property
    def least_batch(self) -> int:
        """The fewest samples between which there is something to compare."""
        return 2

    @property
    def student_layers(self) -> tuple[str, ...]:
        """The student's layer, if features are used."""
        return (self.student_layer,) if self.on == "features" else ()
