"""The section `[self_training]`: students label images that were not bought, and learn from each other's labels."""

from collections.abc import Sequence
from math import log10
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from distill_worker.config.data_sections import Policy
from distill_worker.config.section import Section
from distill_worker.config.training_section import Student, Training
from distill_worker.methods import Method, method_name
from distill_worker.methods.base import LOGITS

_FOLDS: Final = 4
_UNDISTORTED: Final = "crop-flip"
_TRIED: Final[tuple[Policy, ...]] = (_UNDISTORTED, "half-strong")
"""The policies that `auto` tries."""


class SelfTraining(Section):
    """An ensemble gives unbought images outputs, at no further call; the student learns from them, too.

    In the track `queried`, it gives outputs to views of the bought images, and the student learns from these, too.
    """

    rounds: int = Field(default=1, ge=1)
    """How many ensembles are trained, one after the other: the first on the bought samples alone, each further one also
    on the unbought images with the outputs of the one before."""
    members: int = Field(default=4, ge=1)
    """Students in an ensemble. The mean of their log-probabilities is the output of an unbought image."""
    distorted_members: int = Field(default=0, ge=0)
    """How many of these students see their bought images distorted (`half-strong`); the others, the first ones, see
    them as `augmentation.policy` says. Students that see images differently err differently. Where `policy = "auto"`
    chooses not to distort the unbought images, none does."""
    network: str | None = None
    """The network of the members. Default: `student.network`."""
    network_file: Path | None = None
    """As `student.network_file`."""
    member_steps: int | None = Field(default=None, ge=1)
    """Steps of a member's training. Default: `training.steps`."""
    start: Literal["fresh", "member"] = "fresh"
    """What the student's training starts from: fresh weights, or those of a `member` of the last ensemble, which has
    the student's network."""
    bought_share: float = Field(default=0.25, gt=0, lt=1)
    """The share of a batch that has the teacher's outputs: at least one sample, and at most all."""
    policy: Policy | Literal["auto"] = "half-strong"
    """How the images with the ensemble's outputs are augmented, for the student and for members that learn from them:
    `auto` tries two on the bought outputs of the last of several rounds. Other images are augmented as
    `augmentation.policy` says."""
    sharpening: Annotated[float, Field(gt=0)] | Literal["by-classes"] = 1.0
    """The factor of the ensemble's log-probabilities, before they are normalised again: above 1, they are surer.
    `by-classes`: the decimal logarithm of the number of classes, where there are more than ten."""
    unsure_share: float = Field(default=1.0, gt=0, le=1)
    """The share of the unbought images that the student and further members learn from: those that the ensemble is
    least sure of. What it is sure of teaches them little."""
    assistant: Path | None = None
    """A weights file of a network that was trained on other data: predictions from its features help the first ensemble
    to label, as far as they are better on held-out bought outputs. Default: none."""

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The stated policy, or all that `auto` tries."""
        return _TRIED if self.policy == "auto" else (self.policy,)

    def with_policy(self, policy: Policy) -> "SelfTraining":
        """These settings with the policy that `auto` chose: where it does not distort images, no member sees any."""
        distorted = 0 if policy == _UNDISTORTED else self.distorted_members
        return self.model_copy(update={"policy": policy, "distorted_members": distorted})

    @property
    def folds(self) -> int:
        """Into which the bought samples are divided, to compare the assistant with the members; 0 without one."""
        return 0 if self.assistant is None else _FOLDS

    def sharpening_on(self, num_classes: int) -> float:
        """The factor of the ensemble's log-probabilities, with so many classes.

        `by-classes`: softened at a temperature, a distribution of more classes is flatter. A margin m between the
        logits of the likeliest class and of C - 1 others gives it `1 / (1 + (C - 1) exp(-m / T))`: to stay as large
        as with ten classes, m grows with the logarithm of C.
        """
        return max(1.0, log10(num_classes)) if self.sharpening == "by-classes" else self.sharpening

    def student(self, student: Student) -> Student:
        """The network of a member, in a run with this `[student]`."""
        if self.network is None:
            return student
        return Student(network=self.network, network_file=self.network_file, image_size=student.image_size)

    def why_not(self, methods: Sequence[Method], training: Training, track: str, rounds: int) -> str | None:
        """Why a run with these methods, this training and so many rounds cannot train itself in this track, or None."""
        if track == "labelled-pool":
            return "expected the track 'unlabelled-pool' or 'queried', got 'labelled-pool', whose images have labels"
        if track == "queried" and (self.rounds > 1 or self.assistant is not None):
            setting = "one round" if self.rounds > 1 else "no assistant"
            return f"expected {setting} in the track 'queried', which has no unbought images to label; set track"
        if self.distorted_members > self.members:
            return (
                f"expected at most {self.members} distorted_members, of so many members, got {self.distorted_members}"
            )
        if self.policy == "auto" and (track == "queried" or rounds == 1):
            wanted = "the track 'unlabelled-pool'" if track == "queried" else "budget.rounds above 1"
            got = f"{track!r}" if track == "queried" else "1"
            return f"expected {wanted} beside policy = 'auto', which judges by the last round's outputs, got {got}"
        if self.start == "member" and (self.network is not None or self.assistant is not None):
            setting = "network" if self.network is not None else "assistant"
            return f"expected start = 'fresh' beside self_training.{setting}, got 'member'"
        if track == "queried" and not any(method.teacher_kinds for method in methods):
            names = ", ".join(method_name(method) for method in methods)
            return (
                "expected a method that learns from outputs in the track 'queried', where the ensemble gives no "
                f"labels, got {names}; use another method, or leave out [self_training]"
            )
        if training.protocol != "steps":
            return f"expected training.protocol = 'steps', got {training.protocol!r}, whose epochs count bought samples"
        needing = "assistant" if self.assistant is not None else "policy" if self.policy == "auto" else None
        if needing is not None and not any(method.teacher_kinds for method in methods):
            return f"expected a method that buys the teacher's outputs, which self_training.{needing} needs"
        reasons = ((method, _why_not_without_teacher(method)) for method in methods)
        return next((f"{method_name(method)} {reason}" for method, reason in reasons if reason), None)


def _why_not_without_teacher(method: Method) -> str | None:
    """Why a method cannot learn from samples that have an ensemble's probabilities alone, or None."""
    if method.needs_pool:
        return "learns from the pool by itself; leave it out, or [self_training]"
    if method.needs_labels:
        return "needs one true label a sample, which an unbought image lacks; use another method"
    if any(kind != LOGITS for kind in method.teacher_kinds):
        return (
            "needs the teacher's features, which an unbought image lacks; use a method on the teacher's distributions"
        )
    if (reason := method.needs_logits) is not None:
        return f"needs logits, and an unbought image has only a distribution: {reason}"
    return None
