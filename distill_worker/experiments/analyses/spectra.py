"""The spectrum of a network's features or logits: over how many directions their variance is spread."""

import torch
from torch import Tensor


def spectrum(values: Tensor) -> Tensor:
    """The singular values of the samples less their mean, divided by the largest, in descending order.

    Args:
        values: float `[samples, width]`, finite: features or logits.

    Returns:
        float64 `[min(samples, width)]`, from 1 down to 0; all are 0 where the samples are equal.

    Source:
        Wilf et al. 2023, arXiv 2311.02253: the flatter the spectrum of a student, the more directions it uses.
    """
    centred = values.double() - values.double().mean(dim=0)
    singular: Tensor = torch.linalg.svdvals(centred)
    rounding = torch.finfo(torch.float64).eps * max(values.shape) * values.double().norm()
    largest = singular.max()
    return singular / largest if largest > rounding else torch.zeros_like(singular)


def effective_rank(singular_values: Tensor) -> float:
    """exp(-sum p log p), p being the singular values divided by their sum; 0 if all are 0.

    Args:
        singular_values: float `[values]`, none negative.

    Returns:
        From 1, if one value is above 0, to the number of values, if all are equal.

    Source:
        Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality", section 2.
    """
    total = singular_values.sum()
    if not total:
        return 0.0
    shares = singular_values / total
    return float(torch.special.entr(shares).sum().exp())
