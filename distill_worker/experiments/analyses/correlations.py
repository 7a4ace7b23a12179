"""Which classes go together: the correlations between classes, and how far two networks agree on them."""

import torch
from torch import Tensor


def class_correlations(log_probabilities: Tensor) -> Tensor:
    """Pearson's correlation of every two classes over the samples, float64 `[classes, classes]`.

    A class with the same value for all samples correlates with no other: 0.

    Args:
        log_probabilities: float `[samples, classes]`, finite, at least two samples.

    Source:
        Wilf et al. 2023, arXiv 2311.02253, after Tian et al. 2020, arXiv 1910.10699, section 4.1, who correlate logits.
        Departs: log-probabilities, which every teacher that returns probabilities has.
    """
    centred = log_probabilities.double() - log_probabilities.double().mean(dim=0)
    norms = centred.norm(dim=0)
    is_constant = norms <= torch.finfo(torch.float64).eps * log_probabilities.double().norm()
    unit = torch.where(is_constant, 0.0, centred / norms)
    correlations: Tensor = (unit.T @ unit).clamp(-1, 1)
    return correlations.fill_diagonal_(1)


def agreement(one: Tensor, other: Tensor) -> float | None:
    """Pearson's correlation of the entries above the diagonals of two matrices, float64 `[classes, classes]`.

    Returns:
        From -1 to 1; None where it is undefined: for two classes, or equal entries.
    """
    above = torch.triu_indices(len(one), len(one), offset=1).unbind()
    entries = torch.stack([one[above], other[above]])
    if entries.shape[1] < 2 or (entries == entries[:, :1]).all(dim=1).any():
        return None
    return float(torch.corrcoef(entries)[0, 1])
