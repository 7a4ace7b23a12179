"""KD on mixtures, and which mixture each method draws."""

from functools import singledispatch

import torch
from torch import Tensor, nn

from distill_worker.losses import kd_loss
from distill_worker.methods.base import method_name
from distill_worker.methods.mixup import CutMix, Mixing, Mixup, Mixup3
from distill_worker.methods.terms.base import LogitTerm, Setting, make_term
from distill_worker.methods.terms.mixtures import Mixture, draw_cutmix, draw_mixup


@make_term.register
def _kd_on_mixtures(method: Mixing, _setting: Setting) -> nn.Module:
    return LogitTerm(kd_loss, temperature=method.temperature)


@singledispatch
def draw_mixture(method: Mixing, _images: Tensor, _generator: torch.Generator) -> Mixture:
    """How a batch of images `[batch, channels, height, width]` is mixed. Each method registers its own."""
    raise NotImplementedError(f"expected a mixture of {method_name(method)} in distill_worker/methods/terms, got none")


@draw_mixture.register
def _mixup(method: Mixup, images: Tensor, generator: torch.Generator) -> Mixture:
    return draw_mixup(len(images), parts=2, alpha=method.alpha, generator=generator)


@draw_mixture.register
def _mixup3(method: Mixup3, images: Tensor, generator: torch.Generator) -> Mixture:
    return draw_mixup(len(images), parts=3, alpha=method.alpha, generator=generator)


@draw_mixture.register
def _cutmix(method: CutMix, images: Tensor, generator: torch.Generator) -> Mixture:
    height, width = images.shape[2:]
    return draw_cutmix(len(images), height=height, width=width, alpha=method.alpha, generator=generator)


def rounded_mixtures(method: Mixing, images: Tensor, probabilities: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
    """As many mixtures as the method says, in whole pixel values; a larger number of them begins with these."""
    generator = torch.Generator().manual_seed(seed)
    mixed, labels, made = [], [], 0
    while made < method.mixtures:
        mixture = draw_mixture(method, images, generator)
        mixed.append(mixture.images(images).round().to(torch.uint8))
        labels.append(mixture.probabilities(probabilities))
        made += len(images)
    return torch.cat(mixed)[: method.mixtures], torch.cat(labels)[: method.mixtures]
