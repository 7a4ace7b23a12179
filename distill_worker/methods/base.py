"""The base of all methods: a method's parameters and its needs.

A method's class is its section of the run's configuration and its row in `distill-worker methods`. Its loss term is in
`distill_worker/methods/terms`: a configuration needs no PyTorch.
"""

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

LOGITS = "logits"


class Method(BaseModel):
    """The base of every method's configuration. The class attributes are the same for every run of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    paper: ClassVar[str]
    access: ClassVar[Literal["none", "black box", "white box"]] = "black box"
    """What the method needs of a teacher: nothing, the outputs that any API sells, or intermediate features."""
    needs_labels: ClassVar[bool] = False
    """Whether the term, besides cross-entropy, needs one true label for each sample: it cannot be mixed."""
    needs_identity: ClassVar[bool] = False
    """Whether the term remembers samples by their position: it cannot be mixed."""
    is_by_sample: ClassVar[bool] = False
    """Whether the target of each sample is its own distribution."""
    needs_pool: ClassVar[bool] = False
    """Whether it learns from unlabelled images without bought outputs."""
    weight_name: ClassVar[str] = "weight"
    """The parameter that is the weight of the term."""

    label_weight: float = Field(default=1.0, ge=0)
    """The weight of the cross-entropy with the labels."""

    @property
    def needs_teacher(self) -> bool:
        """Whether outputs have to be bought."""
        return bool(self.teacher_kinds)

    @property
    def teacher_kinds(self) -> tuple[str, ...]:
        """The kinds of output to buy; one call buys them all. `logits` stands for any distribution."""
        return () if self.access == "none" else (LOGITS,)

    @property
    def needs_logits(self) -> str | None:
        """The reason why the method needs logits; None if any distribution is enough."""
        return None

    def why_not_on(self, _num_classes: int, _batch: int) -> str | None:
        """Why the term has no gradient on so many classes or samples a step, or fails; None if it teaches."""
        return None

    @property
    def teaches_classes(self) -> bool:
        """Whether the term shows without labels which class is which; differences between samples do not."""
        return self.is_by_sample

    @property
    def student_layers(self) -> tuple[str, ...]:
        """The student's layers whose features the term sees."""
        return ()

    @property
    def term_weight(self) -> float:
        """The weight of the term."""
        return float(getattr(self, self.weight_name, 1.0))

    def weight_on(self, _num_classes: int) -> float:
        """The weight of the term on data with so many classes."""
        return self.term_weight

    def scaled(self, factor: float) -> Self:
        """This method with `factor` times the weight of its term; itself if it has no term."""
        if self.weight_name not in type(self).model_fields:
            return self
        return self.model_copy(update={self.weight_name: factor * self.term_weight})

    def softened(self, temperature: float) -> Self:
        """This method with another temperature of the outputs; itself if it has none."""
        if "temperature" not in type(self).model_fields:
            return self
        return self.model_copy(update={"temperature": temperature})


_CLASSES_OF_PUBLISHED_WEIGHTS = 10


class WeighedByClasses(Method):
    """The base of methods on softened distributions, whose gradient is as small as there are many classes.

    At a high temperature T, T^2 KL is the squared error of the centred logits, divided by twice the number of classes
    (Hinton et al. 2015, arXiv 1503.02531, section 2.1; Kim et al. 2021, arXiv 2105.08919).
    """

    by_classes: bool = False
    """Multiply the weight by a tenth of the number of classes where there are more than ten, so that the term weighs as
    much beside the labels as it does with ten classes."""

    def weight_on(self, num_classes: int) -> float:
        """The weight, in proportion to the classes above ten if it is to be."""
        return self.term_weight * (max(1.0, num_classes / _CLASSES_OF_PUBLISHED_WEIGHTS) if self.by_classes else 1.0)


def method_name(method: Method) -> str:
    """The name in the registry."""
    return str(type(method).model_fields["name"].default)
