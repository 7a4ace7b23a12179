"""The section `[tuning]`: settings of a run that are chosen by cross-fitting, before its student is trained."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from distill_worker.config.data_sections import Policy
from distill_worker.config.section import Section
from distill_worker.config.training_section import Training
from distill_worker.methods import Method, Mixing, method_name


def _are_different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"expected different values, got {list(values)}")
    return values


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Different = AfterValidator(_are_different)


class Tuning(Section):
    """Choose settings by the outputs that are bought, without labels, test data or further calls.

    A list with no value leaves a setting as it is configured; every combination of the others is a candidate.
    """

    folds: int = Field(default=4, ge=2)
    """Parts of the bought samples. A trial is trained on all but one of them and scored on that one."""
    term_weights: Annotated[tuple[Positive, ...], Different] = (1, 3, 10, 30)
    """Factors of the weights of the methods' terms. The weight of the labels stays."""
    weight_decays: Annotated[tuple[NotNegative, ...], Different] = (5e-4, 2e-3, 5e-3, 1e-2)
    """For `training.weight_decay`."""
    learning_rates: Annotated[tuple[Positive, ...], Different] = (0.02, 0.05, 0.1)
    """For `training.learning_rate`."""
    temperatures: Annotated[tuple[Positive, ...], Different] = ()
    """For `temperature` of every method that softens outputs."""
    steps: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Different] = ()
    """For `training.steps`."""
    policies: Annotated[tuple[Policy, ...], Different] = ()
    """For `augmentation.policy`."""
    trials: int = Field(default=48, ge=1)
    """The most candidates. If there are more, they are drawn by `training.seed`."""
    first_steps: int | None = Field(default=None, ge=1)
    """Steps of a trial in the first rung, of a candidate with the most steps; the others take as large a part of
    theirs. Default: the most steps divided by the square of `eta`, which gives three rungs at most."""
    eta: int = Field(default=4, ge=2)
    """From rung to rung, the best candidates remain, one in `eta`, and their trials take `eta` times the steps. The
    last rung has all steps, all folds, and at least `eta` candidates, or all if there are fewer."""

    def why_not(self, methods: Sequence[Method], training: Training, track: str) -> str | None:
        """Why the settings of such a run cannot be chosen, or None."""
        names = ", ".join(method_name(method) for method in methods)
        if not any(method.needs_teacher for method in methods):
            return (
                f"tuning: expected a method that learns from bought outputs, by which settings are chosen, got {names}"
            )
        if any(isinstance(method, Mixing) and method.mixtures for method in methods):
            return (
                f"tuning: expected no bought mixtures, because a mixture belongs to no fold, got {names} with mixtures"
            )
        if track == "labelled-pool":
            return (
                "tuning: expected the track queried or unlabelled-pool, because a labelled pool has the labels of the "
                "samples that trials are scored on, got 'labelled-pool'"
            )
        if training.protocol == "paper":
            return "tuning: expected training.protocol = 'steps', because 'paper' stops by labels, got 'paper'"
        if training.budget is not None:
            return (
                "tuning: expected no training.budget, because the trials decide how many steps are best, got "
                f"{training.budget!r}; set training.steps or tuning.steps"
            )
        if training.stop_after_steps is not None:
            return (
                "tuning: expected no training.stop_after_steps, because a trial has the whole schedule of its steps, "
                f"got {training.stop_after_steps}"
            )
        if self.temperatures and all(method.softened(1.0) is method for method in methods):
            return (
                f"tuning.temperatures: expected no value, because no method has a temperature of outputs, got {names}"
            )
        return None
