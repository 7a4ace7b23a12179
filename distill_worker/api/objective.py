"""The objective of a run for one's own training loop.

`Objective("kd + ckd(pairing=anchors)")` adds up the loss terms that `distill-worker` trains with, with their weights.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill_worker.api.bought import Bought
from distill_worker.errors import ConfigError
from distill_worker.methods import Method, method_name, why_not_on, why_not_with
from distill_worker.methods.base import LOGITS
from distill_worker.methods.ckd import CKD
from distill_worker.methods.expression import methods_in
from distill_worker.methods.mixup import Mixing
from distill_worker.methods.single_sample import MSE
from distill_worker.methods.terms import Batch, Setting
from distill_worker.methods.terms import Objective as Terms
from distill_worker.methods.terms.base import probabilities_of
from shared.output_kinds import LOG_PROBABILITIES

_LABEL: Final = "label"
_UNKNOWN: Final = -2
"""The number of a sample that is not among the outputs; -1 is a free place of a memory."""
Outputs = Bought | Tensor | NDArray[np.float32]


class Objective(nn.Module):
    """The weighted losses of methods, summed up, as a module.

    `loss(student_logits, teacher_logits, labels=None, index=None)` is a scalar. Without labels, the weight of the
    labels is 0, as in a run on images without labels. `terms` gives the parts by name.
    """

    def __init__(
        self,
        expression: str,
        num_classes: int | None = None,
        *,
        outputs: Outputs | None = None,
        steps: int = 0,
        seed: int = 0,
    ) -> None:
        """Make the losses.

        Args:
            expression: names of methods with their parameters, such as `kd(temperature=2) + ckd(pairing=anchors)`; see
                `distill-worker methods`.
            num_classes: by default, what the first call has.
            outputs: all outputs that the student learns from: what `buy` returned, or float `[samples, classes]`. `mse`
                and `ckd(divergence=mse)` need them, for their scale. `ckd(pairing=anchors)` compares with them; without
                them, with those of earlier calls and of this one.
            steps: of the training; `dkd` grows its weight over the first of them. 0: it has its weight at once.
            seed: of what is drawn, such as the groups of `ckd(pairing=drawn)`.

        Raises:
            ConfigError: an unknown name or parameter, or a method that a loss of logits cannot have.
        """
        super().__init__()
        self.expression = expression
        self._methods = methods_in(expression)
        self._steps, self._seed = steps, seed
        self._taken = 0
        self._generators: dict[torch.device, torch.Generator] = {}
        self._rows: dict[int | bytes, int] = {}
        self._is_whole = outputs is not None
        self._compares_by_sample = any(
            isinstance(method, CKD) and method.pairing in ("anchors", "memory") for method in self._methods
        )
        self._terms: Terms | None = None
        _check(self._methods, outputs)
        if outputs is not None:
            num_classes = self._remember_all(outputs, num_classes)
        elif num_classes is not None:
            self._terms = self._made(torch.empty(0, num_classes))

    def extra_repr(self) -> str:
        """The expression."""
        return repr(self.expression)

    def forward(
        self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor | None = None, index: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch, a scalar; its gradient goes to the student alone.

        Args:
            student_logits: float `[batch, classes]`.
            teacher_logits: float `[batch, classes]`, or log-probabilities.
            labels: int64 `[batch]`; None without labels.
            index: int64 `[batch]`, which sample each row is: the third value of `Bought[i]`, or the row of `outputs`.
                It counts for the pairings `anchors` and `memory`, which leave out comparisons of a sample with itself.
                Without it, rows with the same teacher outputs are one sample.

        Raises:
            ValueError: other shapes, or a method learns nothing from so few classes or samples.
            ConfigError: a method needs labels, or `outputs` lacks a sample.
        """
        return torch.stack(list(self.terms(student_logits, teacher_logits, labels, index).values())).sum()

    def terms(
        self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor | None = None, index: Tensor | None = None
    ) -> Mapping[str, Tensor]:
        """The weighted parts by name: `label`, and each method. Arguments and errors are those of a call."""
        _check_shapes(student_logits, teacher_logits, labels, index)
        if labels is None:
            self._check_without_labels()
        device, (size, classes) = student_logits.device, student_logits.shape
        if (reason := why_not_on(self._methods, num_classes=classes, batch=size)) is not None:
            raise ValueError(f"student_logits: {reason}; a DataLoader with drop_last=True makes no smaller last batch")
        if self._terms is None:
            self._terms = self._made(torch.empty(0, classes))
        if device not in self._generators:
            self._terms.to(device)
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        teacher_logits = teacher_logits.detach()
        samples = self._samples(teacher_logits, index)
        if self.training:
            self._taken += 1
        batch = Batch(
            student={LOGITS: student_logits},
            teacher={LOGITS: teacher_logits},
            label_probabilities=torch.zeros_like(student_logits)
            if labels is None
            else probabilities_of(labels, classes),
            labels=labels,
            samples=samples,
            generator=self._generators[device],
            step=max(1, self._taken),
        )
        return self._terms.without((_LABEL,) if labels is None else (), batch)

    def _made(self, outputs: Tensor) -> Terms:
        classes = outputs.shape[1]
        setting = Setting(
            num_classes=classes, steps=self._steps, student_shapes={LOGITS: (classes,)}, targets={LOGITS: outputs}
        )
        return Terms(self._methods, setting)

    def _remember_all(self, outputs: Outputs, num_classes: int | None) -> int:
        if isinstance(outputs, Bought):
            rows, names = outputs.log_probabilities[outputs.indices], outputs.indices.tolist()
        else:
            rows = torch.as_tensor(outputs).detach().float().cpu()
            names = list(range(len(rows)))
        if rows.ndim != 2 or num_classes not in (None, rows.shape[1]) or not len(rows):
            shape = ["samples", num_classes or "classes"]
            raise ConfigError(f"outputs: expected float {shape}, at least one sample, got {list(rows.shape)}")
        if not rows.isfinite().all():
            raise ConfigError(
                "outputs: expected finite numbers, got others; leave out the rows of samples that are not held: "
                "bought.log_probabilities[bought.held]"
            )
        for row, (name, content) in enumerate(zip(names, _contents(rows), strict=True)):
            self._rows[name] = row
            self._rows.setdefault(content, row)
        self._terms = self._made(rows)
        return rows.shape[1]

    def _samples(self, teacher_logits: Tensor, index: Tensor | None) -> Tensor:
        """The number of each sample of a batch, int64 `[batch]`; new ones are added to the anchors."""
        if not self._compares_by_sample:
            return torch.arange(len(teacher_logits), device=teacher_logits.device)
        names: Sequence[int | bytes] = _contents(teacher_logits) if index is None else index.tolist()
        if self._is_whole:
            if index is not None and (unknown := [name for name in names if name not in self._rows]):
                raise ConfigError(
                    f"index: expected samples that `outputs` holds, got {len(unknown)} others, such as {unknown[0]!r}"
                )
            numbers = [self._rows.get(name, _UNKNOWN) for name in names]
        else:
            new = [row for row, name in enumerate(names) if names.index(name) == row and name not in self._rows]
            numbers = [self._rows.setdefault(name, len(self._rows)) for name in names]
            self._add_anchors(teacher_logits[new])
        return torch.tensor(numbers, device=teacher_logits.device)

    def _add_anchors(self, outputs: Tensor) -> None:
        if len(outputs) and self._terms is not None:
            for term in self._terms.terms.values():
                if isinstance(anchors := getattr(term, "anchors", None), Tensor):
                    rows = term.representation.of_teacher(outputs)  # type: ignore[union-attr, operator]
                    term.anchors = torch.cat([anchors.to(rows.dtype), rows])

    def _check_without_labels(self) -> None:
        for method in self._methods:
            if method.needs_labels:
                raise ConfigError(f"labels: expected int64 [batch], which {method_name(method)} needs, got none")
        if not any(method.teaches_classes and method.term_weight for method in self._methods):
            raise ConfigError(
                f"labels: expected int64 [batch], because {self.expression!r} does not show which class is which, got "
                "none; give labels, or add kd"
            )


def _check(methods: Sequence[Method], outputs: Outputs | None) -> None:
    """Raise `ConfigError` if a loss of logits cannot have one of these methods."""
    for method in methods:
        name, reason = method_name(method), None
        if any(kind != LOGITS for kind in method.teacher_kinds):
            reason = "it learns from features of the teacher"
        elif method.needs_pool:
            reason = "it learns from views of images that were not bought"
        elif isinstance(method, Mixing):
            reason = "it trains on mixtures of images, which the loop would have to make"
        elif method.needs_identity:
            reason = "it has parameters of its own, and remembers each sample"
        if reason is not None:
            raise ConfigError(
                f"method: expected a method that is a loss of logits, got {name}: {reason}; train with "
                f"distill_worker.distill(..., method={name!r})"
            )
        if outputs is None and (isinstance(method, MSE) or (isinstance(method, CKD) and method.divergence == "mse")):
            raise ConfigError(
                f"outputs: expected all outputs that the student learns from, because the scale of {name} is that of "
                "all of them, got none; pass outputs=bought, or float [samples, classes]"
            )
    if isinstance(outputs, Bought) and (reason := why_not_with(methods, LOG_PROBABILITIES)) is not None:
        raise ConfigError(f"method: {reason}")


def _check_shapes(student: Tensor, teacher: Tensor, labels: Tensor | None, index: Tensor | None) -> None:
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            f"student_logits and teacher_logits: expected [batch, classes] both, got {list(student.shape)} and "
            f"{list(teacher.shape)}"
        )
    for name, values in (("labels", labels), ("index", index)):
        if values is not None and values.shape != student.shape[:1]:
            raise ValueError(f"{name}: expected int64 [batch], as {len(student)} rows have, got {list(values.shape)}")


def _contents(rows: Tensor) -> list[bytes]:
    return [row.tobytes() for row in rows.detach().float().cpu().numpy()]
