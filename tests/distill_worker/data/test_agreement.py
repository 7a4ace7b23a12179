"""When a teacher certainly does not mean the classes of the data, against SciPy's binomial distribution."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from distill_worker.data.agreement import Agreement, is_no_better_than_chance
from distill_worker.errors import PlanRefused

KEYS = [bytes([number]) * 32 for number in range(100)]


@given(st.integers(2, 1000), st.integers(0, 400), st.data())
def test_test_is_the_exact_binomial_one(num_classes: int, samples: int, data: st.DataObject) -> None:
    agreements = data.draw(st.integers(0, samples))
    chance = 1 / num_classes
    probability = binom.cdf(agreements, samples, chance + (1 - chance) / 4)
    expected = agreements <= chance * samples and probability < 1e-4
    if abs(probability - 1e-4) > 1e-9:
        assert is_no_better_than_chance(agreements, samples, num_classes) == expected


@pytest.mark.parametrize(("num_classes", "samples"), [(2, 10), (10, 24), (1000, 32)])
def test_teacher_that_is_never_right_is_recognised_after_few_samples(num_classes: int, samples: int) -> None:
    assert not is_no_better_than_chance(0, samples - 1, num_classes)
    assert is_no_better_than_chance(0, samples, num_classes)


@pytest.mark.parametrize("num_classes", [2, 3, 10, 100, 1000])
def test_teacher_above_chance_is_never_rejected(num_classes: int) -> None:
    for samples in (1, 10, 100, 1000, 100_000):
        assert not is_no_better_than_chance(samples // num_classes + 1, samples, num_classes)


@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_teacher_that_guesses_is_rejected_in_the_end(num_classes: int) -> None:
    assert is_no_better_than_chance(2000 // num_classes, 2000, num_classes)


def _outputs(kind: str, classes: NDArray[np.int64], num_classes: int) -> dict[str, NDArray[Any]]:
    """Outputs of which the likeliest class of each sample is the given one."""
    scores = np.full((len(classes), num_classes), 0.1, np.float32)
    scores[np.arange(len(classes)), classes] = 0.6
    if kind == "label":
        return {kind: classes[:, None].astype(np.float32)}
    if kind.startswith("top_k"):
        other = (classes + 1) % num_classes
        rows = [[[second, 0.1], [first, 0.6]] for first, second in zip(classes, other, strict=True)]
        return {kind: np.array(rows, np.float32)}
    return {kind: scores}


@pytest.mark.parametrize("kind", ["logits", "log_probabilities", "probabilities:2", "top_k:2", "label"])
def test_every_kind_is_counted(kind: str) -> None:
    """30 samples of 5 classes: right ones pass, and those of the next class stop."""
    labels = np.arange(30) % 5
    expected = dict(zip(KEYS, labels.tolist(), strict=False))
    right = {"features.a": np.zeros((30, 2)), **_outputs(kind, labels, 5)}
    Agreement(expected, 5).judge(KEYS[:30], right)
    with pytest.raises(PlanRefused, match=r"more often than by chance \(1 of 5 samples\), got it for 0 of 30"):
        Agreement(expected, 5).judge(KEYS[:30], _outputs(kind, (labels + 1) % 5, 5))


def test_classes_in_another_order_are_mapped_before_they_are_counted() -> None:
    """Class 0 of the data is the teacher's class 2, and so on."""
    labels = np.arange(30) % 3
    order = np.array([2, 0, 1])
    expected = dict(zip(KEYS, labels.tolist(), strict=False))
    Agreement(expected, 3, order.tolist()).judge(KEYS[:30], _outputs("logits", order[labels], 3))
    with pytest.raises(PlanRefused, match="0 of 30"):
        Agreement(expected, 3, order.tolist()).judge(KEYS[:30], _outputs("logits", labels, 3))


def test_all_answers_count_together_and_each_sample_once() -> None:
    agreement = Agreement(dict.fromkeys(KEYS, 0), 2)
    wrong = _outputs("logits", np.array([1]), 2)
    for _ in range(20):
        agreement.judge(KEYS[:1], wrong)
    for key in KEYS[1:9]:
        agreement.judge([key], wrong)
    with pytest.raises(PlanRefused, match="0 of 10"):
        agreement.judge(KEYS[9:10], wrong)


def test_sample_that_is_answered_twice_counts_as_the_last_time() -> None:
    agreement = Agreement(dict.fromkeys(KEYS[:12], 0), 2)
    agreement.add(KEYS[:12], _outputs("logits", np.zeros(12, np.int64), 2))
    agreement.check()
    agreement.add(KEYS[:12], _outputs("logits", np.ones(12, np.int64), 2))
    with pytest.raises(PlanRefused, match="0 of 12"):
        agreement.check()


def test_samples_without_labels_and_features_alone_are_not_counted() -> None:
    agreement = Agreement({}, 2)
    agreement.judge(KEYS, _outputs("logits", np.ones(100, np.int64), 2))
    Agreement(dict.fromkeys(KEYS, 0), 2).judge(KEYS, {"features.a": np.zeros((100, 2))})
