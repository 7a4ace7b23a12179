"""How exact the probabilities of an output are: what their sums may be off by."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.output_kinds import TOP_K, OutputKind

SUM_MAY_BE_OFF_BY: Final = 0.01
"""Accepts rounding by half-precision servers; rejects logits, percentages and scores."""
_DIGITS_SEEN: Final = (2, 3, 4)
"""Numbers of digits that values show by themselves: fewer are no sign of rounding, more are lost in float32."""
_FLOAT32_ERROR: Final = 2e-3
"""How far a rounded float32 probability may be from a whole number, after multiplication by 10 to the digits."""


def sums_may_be_off_by(kind: OutputKind, probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """How far the sum of each row of probabilities, `[samples, returned]`, may be from what it should be, `[samples]`.

    `SUM_MAY_BE_OFF_BY`, and where digits are known one last digit for each value, as a digit may have been cut off
    instead of rounded. The digits of a `top_k` that states none are those that all values of a row show: vendors round
    scores and do not say so.
    """
    values = np.asarray(probabilities, np.float64)
    if kind.digits is not None:
        return np.full(len(values), SUM_MAY_BE_OFF_BY + values.shape[1] * 10.0**-kind.digits)
    off_by = np.full(len(values), SUM_MAY_BE_OFF_BY)
    for seen in reversed(_DIGITS_SEEN if kind.name == TOP_K else ()):
        scaled = values * 10.0**seen
        is_rounded = (np.abs(scaled - np.round(scaled)) < _FLOAT32_ERROR).all(axis=1)
        off_by[is_rounded] = SUM_MAY_BE_OFF_BY + values.shape[1] * 10.0**-seen
    return off_by
