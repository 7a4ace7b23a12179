"""Methods whose loss is computed sample by sample."""

from typing import ClassVar, Literal

from pydantic import Field

from distill_worker.methods.base import Method, WeighedByClasses


class CE(Method):
    """Cross-entropy on the labels: no teacher, no calls."""

    name: Literal["ce"] = "ce"
    paper: ClassVar = "the student alone"
    access: ClassVar = "none"


class KD(WeighedByClasses):
    """Knowledge distillation: the teacher's softened distribution is the target."""

    name: Literal["kd"] = "kd"
    paper: ClassVar = "Hinton et al. 2015, arXiv 1503.02531; weights of Tian et al. 2020, arXiv 1910.10699"
    is_by_sample: ClassVar = True
    temperature: float = Field(default=4.0, gt=0)
    """Logits are divided by it before the softmax: above 1, outputs are softer."""
    label_weight: float = Field(default=0.1, ge=0)
    """The weight of the cross-entropy with the labels."""
    weight: float = Field(default=0.9, ge=0)
    """The weight of the term."""


class DKD(Method):
    """Decoupled KD: the true class, and the other classes among themselves, with a weight each."""

    name: Literal["dkd"] = "dkd"
    paper: ClassVar = "Zhao et al. 2022, arXiv 2203.08679"
    is_by_sample: ClassVar = True
    needs_labels: ClassVar = True
    temperature: float = Field(default=4.0, gt=0)
    """Logits are divided by it before the softmax: above 1, outputs are softer."""
    weight: float = Field(default=1.0, ge=0)
    """The weight of the whole term."""
    alpha: float = Field(default=1.0, ge=0)
    """The weight of the true class against all others."""
    beta: float = Field(default=6.0, ge=0)
    """The weight of the other classes among themselves."""
    warm_up: float = Field(default=1 / 12, ge=0, le=1)
    """The share of the training over which the weight grows from 0: 20 of 240 epochs in the paper."""

    def why_not_on(self, num_classes: int, _batch: int) -> str | None:
        """With two classes there is one other class, of which there is nothing to learn; alpha must not be 0 then."""
        if num_classes > 2 or self.alpha:
            return None
        return (
            "with alpha = 0 needs at least 3 classes, got 2: it compares the classes other than the true one among "
            "themselves, and there is only one. Set method.alpha"
        )


class LSKD(Method):
    """KD on logits that are standardised sample by sample."""

    name: Literal["lskd"] = "lskd"
    paper: ClassVar = "Sun et al. 2024, arXiv 2403.01427"
    is_by_sample: ClassVar = True
    temperature: float = Field(default=2.0, gt=0)
    """The standardised logits are divided by it before the softmax."""
    label_weight: float = Field(default=0.1, ge=0)
    """The weight of the cross-entropy with the labels."""
    weight: float = Field(default=9.0, ge=0)
    """The weight of the term."""

    def why_not_on(self, num_classes: int, _batch: int) -> str | None:
        """Two standardised logits are 0.71 and -0.71 for every sample."""
        if num_classes > 2:
            return None
        return (
            "needs at least 3 classes, got 2: of two standardised logits only the order is left, so the loss has no "
            "gradient. Use another method, for example kd"
        )


class MSE(Method):
    """Logit regression: the squared error of centred logits, divided by the variance of the teacher's outputs."""

    name: Literal["mse"] = "mse"
    paper: ClassVar = "Kim et al. 2021, arXiv 2105.08919; label weight as of kd"
    is_by_sample: ClassVar = True
    label_weight: float = Field(default=0.1, ge=0)
    """The weight of the cross-entropy with the labels."""
    weight: float = Field(default=0.5, ge=0)
    """The weight of the term."""


class DIST(Method):
    """Correlation between the predictions, over the classes of a sample and over the samples of a class."""

    name: Literal["dist"] = "dist"
    paper: ClassVar = "Huang et al. 2022, arXiv 2205.10536"
    is_by_sample: ClassVar = True
    temperature: float = Field(default=4.0, gt=0)
    """Logits are divided by it before the softmax: above 1, outputs are softer."""
    weight: float = Field(default=2.0, ge=0)
    """The weight of the term."""

    def why_not_on(self, num_classes: int, batch: int) -> str | None:
        """The correlation of two values is 1 or -1. Either the classes or the samples must be more."""
        if batch >= (2 if num_classes > 2 else 3):
            return None
        return (
            f"needs a batch of at least 2 samples, and of 3 if there are 2 classes, got {batch} and {num_classes} "
            "classes: the correlation of two values is 1 or -1 and has no gradient. Use more samples or another method"
        )


class TTM(Method):
    """Transformed teacher matching: only the teacher is softened."""

    name: Literal["ttm"] = "ttm"
    paper: ClassVar = "Zheng and Yang 2024, arXiv 2402.11148"
    is_by_sample: ClassVar = True
    temperature: float = Field(default=4.0, gt=0)
    """The teacher's logits are divided by it before the softmax; the student's are not."""
    weight: float = Field(default=1.0, ge=0)
    """The weight of the term."""


class WTTM(Method):
    """Transformed teacher matching, with more weight on samples of which the teacher is unsure."""

    name: Literal["wttm"] = "wttm"
    paper: ClassVar = "Zheng and Yang 2024, arXiv 2402.11148"
    is_by_sample: ClassVar = True
    temperature: float = Field(default=4.0, gt=0)
    """The teacher's logits are divided by it before the softmax; the student's are not."""
    weight: float = Field(default=1.0, ge=0)
    """The weight of the term."""
