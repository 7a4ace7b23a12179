"""Methods that use the teacher's intermediate features. They need an API key that may see features."""

from typing import ClassVar, Literal

from pydantic import Field

from distill_worker.methods.base import LOGITS, Method
from distill_worker.methods.representation import FEATURES


class WhiteBox(Method):
    """The base of these methods: one layer of the teacher teaches one of the student."""

    access: ClassVar = "white box"
    teacher_layer: str = Field(default="stage2", min_length=1)
    """The teacher's layer whose features are bought, as the server names it."""
    student_layer: str = Field(default="stage2", min_length=1)
    """The student's layer that learns."""

    @property
    def teacher_kinds(self) -> tuple[str, ...]:
        """The logits come with the features, at no further call."""
        return (LOGITS, FEATURES + self.teacher_layer)

    @property
    def student_layers(self) -> tuple[str, ...]:
        """The layer that is taught."""
        return (self.student_layer,)


class FitNet(WhiteBox):
    """Hints: a learned regressor maps the student's features to the teacher's."""

    name: Literal["fitnet"] = "fitnet"
    paper: ClassVar = "Romero et al. 2015, arXiv 1412.6550; weight of Tian et al. 2020, arXiv 1910.10699"
    weight: float = Field(default=100.0, ge=0)
    """The weight of the term."""


class AT(WhiteBox):
    """Attention transfer: the student's features are strong in the same places as the teacher's."""

    name: Literal["at"] = "at"
    paper: ClassVar = "Zagoruyko and Komodakis 2017, arXiv 1612.03928"
    weight: float = Field(default=1000.0, ge=0)
    """The weight of the term."""


class VID(WhiteBox):
    """Variational information distillation: the teacher's features as a Gaussian around a function of the student's."""

    name: Literal["vid"] = "vid"
    paper: ClassVar = "Ahn et al. 2019, arXiv 1904.05835"
    weight: float = Field(default=1.0, ge=0)
    """The weight of the term."""
    initial_variance: float = Field(default=5.0, gt=0)
    """The variance of the Gaussian before the first step; it is learned."""
