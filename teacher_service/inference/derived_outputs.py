"""What is told instead of logits: log-probabilities, probabilities, the top k classes, the label.

All follow from the logits of one sample alone, so that they share a pass with whoever may see the logits. They are
computed in float64 and told in float32.
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
        outputs: names, of which those in `DERIVED` are given.
        policy: to how many digits, and how many classes. Each number is rounded by itself, to the nearest, ties to
            even: a row need not add up to one. Equal logits are told in the order of their classes.

    Returns:
        `log_probabilities`, `probabilities` float32 `[samples, classes]`; `top_k` float32 and `top_k_indices` int64
        `[samples, min(k, classes)]`, the largest first; `label` int64 `[samples]`.
    """
    exact = logits.astype(np.float64)
    found: dict[str, NDArray[Any]] = {}
    if LOG_PROBABILITIES in outputs:
        smallest = np.finfo(np.float32).min  # logits may be further apart than float32 can say
        found[LOG_PROBABILITIES] = np.maximum(log_softmax(exact, axis=1), smallest).astype(np.float32)
    if PROBABILITIES in outputs:
        found[PROBABILITIES] = _told(softmax(exact, axis=1), policy.digits.get(PROBABILITIES))
    if LABEL in outputs:
        found[LABEL] = np.argmax(exact, axis=1).astype(np.int64)
    if TOP_K in outputs or TOP_K_INDICES in outputs:
        best = np.argsort(-exact, axis=1, kind="stable")[:, : policy.k]
        if TOP_K in outputs:
            largest = np.take_along_axis(softmax(exact, axis=1), best, axis=1)
            found[TOP_K] = _told(largest, policy.digits.get(TOP_K))
        if TOP_K_INDICES in outputs:
            found[TOP_K_INDICES] = best.astype(np.int64)
    return found


def _told(probabilities: NDArray[np.float64], digits: int | None) -> NDArray[np.float32]:
    told = probabilities if digits is None else np.round(probabilities, digits)
    return told.astype(np.float32)
