"""Calibration: whether a student is right as often as it is sure."""

from typing import Any, Final

import torch
from torch import Tensor

BINS: Final = 15


def calibration(probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    """The expected calibration error, and the bins of the reliability diagram, JSON-able.

    ECE = sum over bins of (samples in the bin / all samples) * |accuracy - mean confidence|; the confidence is the
    largest probability, and bin i of 15 holds those above i / 15 and up to (i + 1) / 15.

    Args:
        probabilities: float `[samples, classes]`, at least one sample.
        labels: int64 `[samples]`.

    Returns:
        `ece`, from 0 to 1; and `bins`: `confidence` and `accuracy`, which are None for an empty bin, and `samples`.

    Source:
        Guo et al. 2017, arXiv 1706.04599, section 2; with their 15 bins.
    """
    confidences, predicted = probabilities.double().max(dim=1)
    correct = (predicted == labels).double()
    places = ((confidences * BINS).ceil().long() - 1).clamp(0, BINS - 1)
    counts = torch.bincount(places, minlength=BINS)
    sure = torch.bincount(places, weights=confidences, minlength=BINS)
    right = torch.bincount(places, weights=correct, minlength=BINS)
    bins = [
        {
            "confidence": total / count if count else None,
            "accuracy": hits / count if count else None,
            "samples": count,
        }
        for count, total, hits in zip(counts.tolist(), sure.tolist(), right.tolist(), strict=True)
    ]
    return {"ece": float((right - sure).abs().sum()) / len(labels), "bins": bins}
