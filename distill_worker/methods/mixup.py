"""Methods that train on mixtures of samples.

Against stored outputs a mixture's target is the mixture of its samples' targets and costs nothing. Buying the
teacher's outputs on mixtures is another method and costs one call a mixture: `targets = "requeried"`.
"""

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from distill_worker.losses import kd_loss
from distill_worker.methods.base import LogitTerm, Method, Setting
from distill_worker.methods.mixtures import Mixture, draw_cutmix, draw_mixup


class Mixing(Method):
    """The base of these methods: a KD term, and the mixing of a batch."""

    label_weight: float = Field(default=0.1, ge=0)
    weight: float = Field(default=0.9, ge=0)
    temperature: float = Field(default=4.0, gt=0)
    alpha: float = Field(default=1.0, gt=0)
    """Of the Beta (or Dirichlet) distribution that the shares are drawn from."""
    targets: Literal["stored", "requeried"] = "stored"
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

    @abstractmethod
    def mixture(self, images: Tensor, generator: torch.Generator) -> Mixture:
        """How a batch of images `[batch, channels, height, width]` is mixed."""

    def requeried_mixtures(self, images: Tensor, probabilities: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
        """The mixtures to buy outputs for, rounded to whole pixel values; a larger number of them begins with these."""
        generator = torch.Generator().manual_seed(seed)
        mixed, labels, made = [], [], 0
        while made < self.mixtures:
            mixture = self.mixture(images, generator)
            mixed.append(mixture.images(images).round().to(torch.uint8))
            labels.append(mixture.probabilities(probabilities))
            made += len(images)
        return torch.cat(mixed)[: self.mixtures], torch.cat(labels)[: self.mixtures]

    def make_term(self, _setting: Setting) -> nn.Module:
        """KD of the batch's logits, mixed or bought for mixtures."""
        return LogitTerm(kd_loss, temperature=self.temperature)


class Mixup(Mixing):
    """KD on convex mixtures of two images."""

    name: Literal["mixup"] = "mixup"
    paper: ClassVar = "Zhang et al. 2018, arXiv 1710.09412"

    def mixture(self, images: Tensor, generator: torch.Generator) -> Mixture:
        """Pairs of the batch."""
        return draw_mixup(len(images), parts=2, alpha=self.alpha, generator=generator)


class Mixup3(Mixing):
    """KD on convex mixtures of three images."""

    name: Literal["mixup3"] = "mixup3"
    paper: ClassVar = "as in Wilf et al. 2023, arXiv 2311.02253"

    def mixture(self, images: Tensor, generator: torch.Generator) -> Mixture:
        """Triplets of the batch."""
        return draw_mixup(len(images), parts=3, alpha=self.alpha, generator=generator)


class CutMix(Mixing):
    """KD on images with a box of another image in them."""

    name: Literal["cutmix"] = "cutmix"
    paper: ClassVar = "Yun et al. 2019, arXiv 1905.04899"

    def mixture(self, images: Tensor, generator: torch.Generator) -> Mixture:
        """Pairs of the batch."""
        height, width = images.shape[2:]
        return draw_cutmix(len(images), height=height, width=width, alpha=self.alpha, generator=generator)
