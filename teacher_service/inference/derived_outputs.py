"""Outputs derived from logits: log-probabilities, probabilities, the top k classes, the label.

Each depends on the logits of one sample alone, so requests for them share a pass with requests for logits. They are
computed in float64 and returned in float32.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from shared.output_kinds import DISTRIBUTIONS, LABEL, LOG_PROBABILITIES, LOGITS, PROBABILITIES, TOP_K
from teacher_service.policy.output_policy import TOP_K_INDICES, OutputPolicy

DERIVED: Final = frozenset({*DISTRIBUTIONS, TOP_K_INDICES} - {LOGITS})


def computed_outputs(outputs: tuple[str, ...]) -> tuple[str, ...]:
    """The outputs that the network computes for `outputs`, logits first: derived ones need the logits alone."""
    computed = {LOGITS if output in DERIVED else output for output in outputs}
    return tuple(sorted(computed, key=lambda output: (output != LOGITS, output)))


def derive(logits: NDArray[np.float32], outputs: tuple[str, ...], policy: OutputPolicy) -> Mapping[str, NDArray[Any]]:
    """The derived outputs among `outputs`, by name.

    Args:
        logits: float32 `[samples, classes]`, finite.
        outputs: names; those outside `DERIVED` are ignored.
        policy: number of digits, and of classes in the top k. Each value is rounded by itself, to the nearest, ties
            to even: a row need not sum to one. Equal logits are ordered by class.

    Returns:
        `log_probabilities`, `probabilities` float32 `[samples, classes]`; `top_k` float32 and `top_k_indices` int64
        `[samples, min(k, classes)]`, the largest first; `label` int64 `[samples]`.
    """
    exact = logits.astype(np.float64)
    values: dict[str, NDArray[Any]] = {}
    if LOG_PROBABILITIES in outputs:
        smallest = np.finfo(np.float32).min  # log-probabilities may exceed float32's range
        values[LOG_PROBABILITIES] = np.maximum(log_softmax(exact, axis=1), smallest).astype(np.float32)
    if PROBABILITIES in outputs:
        values[PROBABILITIES] = _rounded(softmax(exact, axis=1), policy.digits.get(PROBABILITIES))
    if LABEL in outputs:
        values[LABEL] = np.argmax(exact, axis=1).astype(np.int64)
    if TOP_K in outputs or TOP_K_INDICES in outputs:
        best = np.argsort(-exact, axis=1, kind="stable")[:, : policy.k]
        if TOP_K in outputs:
            largest = np.take_along_axis(softmax(exact, axis=1), best, axis=1)
            values[TOP_K] = _rounded(largest, policy.digits.get(TOP_K))
        if TOP_K_INDICES in outputs:
            values[TOP_K_INDICES] = best.astype(np.int64)
    return values


def _rounded(probabilities: NDArray[np.float64], digits: int | None) -> NDArray[np.float32]:
    rounded = probabilities if digits is None else np.round(probabilities, digits)
    return rounded.astype(np.float32)
