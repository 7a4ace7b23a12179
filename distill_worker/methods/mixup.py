"""Methods that train on mixtures of samples.

Against stored outputs a mixture's target is the mixture of its samples' targets and costs nothing. Buying the
teacher's outputs on mixtures is another method and costs one call a mixture: `targets = "requeried"`.
"""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from distill_worker.methods.base import Method


class Mixing(Method):
    """The base of these methods: a KD term on mixtures."""

    is_by_sample: ClassVar = True
    label_weight: float = Field(default=0.1, ge=0)
    """The weight of the cross-entropy with the mixed labels."""
    weight: float = Field(default=0.9, ge=0)
    """The weight of the term."""
    temperature: float = Field(default=4.0, gt=0)
    """Logits are divided by it before the softmax: above 1, outputs are softer."""
    alpha: float = Field(default=1.0, gt=0)
    """Of the Beta (or Dirichlet) distribution that the shares are drawn from."""
    targets: Literal["stored", "requeried"] = "stored"
    """The teacher's output for a mixture: `stored`, the mixture of the bought outputs of its samples, at no call; or
    `requeried`, bought."""
    mixtures: int = Field(default=0, ge=0)
    """For `requeried`: the number of mixtures to buy outputs for, one call each, besides the n samples."""

    @model_validator(mode="after")
    def _calls_are_configured(self) -> "Mixing":
        if (self.targets == "requeried") != (self.mixtures > 0):
            raise ValueError(
                "mixtures: expected a positive number of calls with targets = 'requeried', and none with 'stored', got "
                f"{self.mixtures} with {self.targets!r}"
            )
        return self


class Mixup(Mixing):
    """KD on convex mixtures of two images."""

    name: Literal["mixup"] = "mixup"
    paper: ClassVar = "Zhang et al. 2018, arXiv 1710.09412"


class Mixup3(Mixing):
    """KD on convex mixtures of three images."""

    name: Literal["mixup3"] = "mixup3"
    paper: ClassVar = "as in Wilf et al. 2023, arXiv 2311.02253"


class CutMix(Mixing):
    """KD on images with a box of another image in them."""

    name: Literal["cutmix"] = "cutmix"
    paper: ClassVar = "Yun et al. 2019, arXiv 1905.04899"
