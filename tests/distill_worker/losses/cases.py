"""Every loss that `distill_worker.losses` exports, with arguments that its signature asks for.

A new loss is in the list as soon as it is exported. What it promises is read from its docstring, and the contract tests
hold it to that. A required parameter with a new name needs a value in `_VALUES`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from distill_worker import losses

BATCH, CLASSES = 6, 4
Loss = Callable[[Tensor, Tensor], Tensor]

_SHAPES = {
    "student_logits": (BATCH, CLASSES),
    "student_embeddings": (BATCH, CLASSES),
    "student_features": (BATCH, 2, 3, 3),
    "student_mean": (BATCH, 2, 3, 3),
}
"""By the name of the first parameter."""

_VALUES: Mapping[str, Callable[[Tensor, Tensor], Any]] = {
    "labels": lambda student, _: torch.arange(len(student)) * 3 % student.shape[1],
    "groups": lambda student, _: losses.draw_groups(len(student), 3, 7, torch.Generator().manual_seed(0)),
    "other_student_logits": lambda _, teacher: teacher.detach().flip(0) + 1,
    "other_teacher_logits": lambda _, teacher: teacher.flip(0),
    "alpha": lambda student, _: torch.tensor([0.5, 2.0], dtype=student.dtype),
    "student_memory": lambda student, _: normalize(random(10, CLASSES, seed=8)).to(student.dtype),
    "teacher_memory": lambda student, _: normalize(random(10, CLASSES, seed=9)).to(student.dtype),
    "contrast": lambda student, _: torch.cat(
        [torch.arange(len(student))[:, None], torch.tensor([[3, 1, 9, 4]] * len(student))], dim=1
    ),
    "student_normaliser": lambda _student, _teacher: 20.0,
    "teacher_normaliser": lambda _student, _teacher: 30.0,
}
"""The value of each further parameter without a default, from the student's and the teacher's tensor."""

_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "crd_loss": {"temperature": 0.5},
    "pseudo_label_loss": {"threshold": 0.4},
}
"""Where the default would make a small batch say nothing."""


@dataclass(frozen=True)
class Case:
    """One exported loss as a function of the student's and the teacher's tensor alone."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return ", ".join([self.name, *(f"{name}={value}" for name, value in self.options.items())])

    @property
    def function(self) -> Callable[..., Tensor]:
        """The loss as it is exported."""
        function: Callable[..., Tensor] = getattr(losses, self.name)
        return function

    def arguments(self, student: Tensor, teacher: Tensor) -> dict[str, Any]:
        """All that the loss needs, by parameter."""
        first, second, *further = inspect.signature(self.function).parameters.values()
        required = [parameter.name for parameter in further if parameter.default is parameter.empty]
        if unknown := [name for name in required if name not in _VALUES]:
            raise LookupError(f"{self.name}: no value for its parameters {unknown}; give them one in {__name__}")
        sides = {first.name: student, second.name: teacher}
        if first.name == "student_embeddings":
            sides = {name: _of_length_1(rows) for name, rows in sides.items()}
        values = {name: _VALUES[name](student, teacher) for name in required}
        return sides | values | {**_OPTIONS.get(self.name, {}), **self.options}

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The value of the loss."""
        return self.function(**self.arguments(student, teacher))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of both tensors."""
        first = self.first_parameter
        if first not in _SHAPES:
            raise LookupError(f"{self.name}: no shape for its first parameter {first!r}; give it one in {__name__}")
        return _SHAPES[first]

    @property
    def first_parameter(self) -> str:
        """The name of the student's tensor, which says of what kind it is."""
        return next(iter(inspect.signature(self.function).parameters))

    @property
    def docstring(self) -> str:
        """With each run of white space as one space."""
        return " ".join((self.function.__doc__ or "").split())

    @property
    def teacher_learns(self) -> bool:
        """Whether gradient reaches the second tensor too, on purpose."""
        return "Gradient flows into both" in self.docstring

    @property
    def takes_log_probabilities(self) -> bool:
        """Whether the loss promises the same value for log-probabilities as for logits."""
        return "Log-probabilities in place of" in self.docstring

    @property
    def sees_shifts(self) -> bool:
        """Whether the loss warns that a constant added to a sample's logits changes its value."""
        return "Not invariant to a constant added to a sample's logits" in self.docstring

    def tensors(self) -> tuple[Tensor, Tensor]:
        """The student's tensor, which takes a gradient, and the teacher's; float64."""
        return random(*self.shape, seed=1).requires_grad_(), random(*self.shape, seed=2)


def random(*shape: int, seed: int) -> Tensor:
    """Normal numbers, float64, the same for one seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _of_length_1(rows: Tensor) -> Tensor:
    return normalize(rows) if rows.ndim == 2 and rows.is_floating_point() else rows


CASES = [Case(name) for name in losses.__all__ if name.endswith("_loss")]
VARIANTS = [
    Case("ckd_loss", {"comparison": "concatenation"}),
    Case("ckd_loss", {"comparison": "interpolation", "share": 0.3}),
    Case("mse_ckd_loss", {"comparison": "interpolation", "share": 0.3}),
    Case("mse_loss", {"variance": 2.5}),
]
"""Options that take another path through the code."""
