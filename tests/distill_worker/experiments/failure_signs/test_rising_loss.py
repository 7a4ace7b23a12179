"""A loss that diverged."""

from collections.abc import Sequence
from typing import Any

import pytest

from distill_worker.experiments.failure_signs.rising_loss import FEWEST_LOGGED, Rise, rise_of, rising_loss


def logged(losses: Sequence[float]) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl with these losses, one for each eighth step."""
    return [{"step": 8 * (place + 1), "loss": loss, "learning_rate": 0.1} for place, loss in enumerate(losses)]


FALLING = [2.3, 2.2, 2.0, 1.5, 1.2, 1.0, 0.9, 0.8]


def test_loss_that_diverged_and_came_back() -> None:
    """The medians over three: from 2.2 to 0.9, to 7 at step 80, and to 1.1."""
    rise = rise_of(logged([*FALLING, 6.0, 9.0, 7.0, 2.0, 1.5, 1.1, 1.0]))
    assert rise == Rise(first=2.2, lowest=0.9, peak=7.0, step=80, last=1.1)
    sign = rising_loss({"KD, n = 50, seed 1": rise})
    assert sign is not None
    assert ": KD, n = 50, seed 1: from 0.9 to 7 at step 80, and 1.1 at the end. " in sign


def test_loss_that_did_not_come_back() -> None:
    rise = rise_of(logged([*FALLING, 6.0, 9.0, 9.0, 9.0]))
    assert rise is not None
    sign = rising_loss({"": rise})
    assert sign is not None
    assert ": from 0.9 to 9 at step 80, and 9 at the end. " in sign


@pytest.mark.parametrize(
    "losses",
    [
        [*FALLING, 2.1, 2.1, 2.1, 1.0, 0.9],
        [*FALLING, 9.0, 0.8, 0.7, 0.6],
        [2.3, 2.9, 3.5, 3.0, 2.5, 2.3, 1.2, 1.1, 1.0, 0.9],
        [2.3, 2.2, 2.0, 1.7, 1.5, 1.3, 2.5, 2.6, 2.7, 1.5],
        [*FALLING, 9.0, 9.0, 9.0][-FEWEST_LOGGED + 1 :],
        [-value for value in (*FALLING, 6.0, 9.0, 7.0, 1.0)],
        [*FALLING, float("nan"), float("inf"), float("inf"), 0.7],
        [],
    ],
    ids=["below the first", "one hard batch", "warm-up", "not fallen yet", "few", "negative", "not finite", "none"],
)
def test_sound_training_is_silent(losses: list[float]) -> None:
    assert rise_of(logged(losses)) is None


def test_no_rise_is_no_sign() -> None:
    assert rising_loss({}) is None
