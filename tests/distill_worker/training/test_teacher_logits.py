"""From what a teacher told to what methods take for its logits; the expected rows are worked out by hand."""

import re
from math import log
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from distill_worker.errors import WorkerError
from distill_worker.training.teacher_logits import rule_of, to_logits, to_teacher_logits
from shared.output_kinds import OutputKind

TINY = 2.0**-126


def _completed(text: str, rows: list[list[float]], classes: int | None = None, *, smoothing: float = 0.1) -> Tensor:
    kind = OutputKind.parse(text)
    return to_logits(kind, torch.tensor(rows), classes or len(rows[0]), label_smoothing=smoothing)


def _top_k(text: str, told: list[tuple[int, float]], classes: int) -> list[float]:
    rows: list[float] = to_logits(OutputKind.parse(text), torch.tensor([told]), classes)[0].exp().tolist()
    return rows


@pytest.mark.parametrize("kind", ["logits", "log_probabilities"])
def test_what_holds_the_whole_softmax_is_left_as_it_is(kind: str) -> None:
    """To the last bit, however small a probability is."""
    told = torch.tensor([[-0.0, -200.0, -300.0], [-1.5, -0.6, -1.475]])
    assert torch.equal(to_logits(OutputKind(kind), told, 3), told)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("logits", [[1.0, 3.0, 2.0]]),
        ("log_probabilities", [[log(0.1), log(0.6), log(0.3)]]),
        ("probabilities", [[0.1, 0.6, 0.3]]),
        ("top_k:2", [[[1.0, 0.6], [2.0, 0.3]]]),
        ("label", [[1.0]]),
    ],
)
def test_classes_are_put_in_the_order_of_the_data(kind: str, row: object) -> None:
    """The teacher's second class is the data's third. Features have no classes, so they stay as they are."""
    bought = {kind: torch.tensor(row), "features.a": torch.tensor([[7.0, 8.0, 9.0]])}
    own = to_teacher_logits(bought, 3).targets
    mapped = to_teacher_logits(bought, 3, class_order=(2, 0, 1)).targets
    first, second, third = own["logits"][0].tolist()
    assert mapped["logits"].tolist() == [[third, first, second]]
    assert mapped["logits"].argmax() == 2
    assert torch.equal(mapped["features.a"], bought["features.a"])


def test_log_of_zero_becomes_that_of_the_smallest_number() -> None:
    filled = _completed("log_probabilities", [[0.0, -torch.inf]])
    assert filled.tolist() == [[0.0, pytest.approx(-126 * log(2))]]


def test_exact_probabilities_become_their_logarithms() -> None:
    filled = _completed("probabilities", [[0.5, 0.25, 0.25], [1.0, 0.0, TINY / 4]])
    assert_close(filled[0].exp(), torch.tensor([0.5, 0.25, 0.25]))
    assert_close(filled[1], torch.tensor([0.0, log(TINY), log(TINY)]))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([0.9, 0.1, 0.0], [0.9, 0.1, 0.005]),  # nothing is left: half of the last digit
        ([0.9, 0.09, 0.0], [0.9, 0.09, 0.005]),  # 0.01 is left, but a class told as 0 has less
        ([1.0, 0.0, 0.0, 0.0, 0.0], [1.0, *[0.00125] * 4]),  # all four together had less
        ([0.98, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.98, *[0.0025] * 8]),  # what is left, evenly
        ([0.6, 0.3, 0.11], [0.6, 0.3, 0.11]),  # rounding up adds up to more
    ],
)
def test_classes_told_as_zero_share_what_is_left(told: list[float], expected: list[float]) -> None:
    """Two digits; the row is divided by its sum."""
    filled = _completed("probabilities:2", [told])[0].exp()
    assert_close(filled, torch.tensor(expected) / sum(expected))


def test_row_rounded_to_nothing_is_even() -> None:
    assert_close(_completed("probabilities:0", [[0.0, 0.0, 0.0, 0.0]]).exp(), torch.full((1, 4), 0.25))


def test_many_classes_told_as_zero_do_not_outweigh_the_one_told() -> None:
    """Half of the last digit for each of 999 would be five times as much as the class that is certain."""
    filled = _completed("probabilities:2", [[1.0, *[0.0] * 999]])[0].exp()
    assert filled[0] > 0.99


def test_classes_not_told_share_the_rest_evenly() -> None:
    told = _top_k("top_k:2", [(3, 0.5), (1, 0.25)], 5)
    assert told == pytest.approx([0.25 / 3, 0.25, 0.25 / 3, 0.5, 0.25 / 3], rel=1e-6)


@pytest.mark.parametrize(("text", "least"), [("top_k:2", 2.0**-24), ("top_k:2:2", 0.005), ("top_k:2:0", 0.5)])
def test_rest_that_rounding_took_away_is_half_of_the_last_digit(text: str, least: float) -> None:
    """Together, for the three classes that are not told."""
    told = _top_k(text, [(0, 0.75), (4, 0.25)], 5)
    assert told == pytest.approx([value / (1 + least) for value in (0.75, *[least / 3] * 3, 0.25)], rel=1e-6)


def test_classes_not_told_are_no_likelier_than_one_told_as_zero() -> None:
    """Of 0.06 that is left, the three classes could take 0.02 each; but one of them was told as less than 0.005."""
    told = _top_k("top_k:2:2", [(0, 0.94), (1, 0.0)], 4)
    assert told == pytest.approx([value / 0.955 for value in (0.94, 0.005, 0.005, 0.005)], rel=1e-6)


@given(
    st.lists(st.integers(0, 1000), min_size=2, max_size=12).filter(any),
    st.none() | st.integers(0, 8),
    st.randoms(use_true_random=False),
)
def test_top_k_of_all_classes_is_probabilities(counts: list[int], digits: int | None, random: Random) -> None:
    exact = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    told = exact.float() if digits is None else (exact * 10**digits).round().div(10**digits).float()
    order = list(range(len(counts)))
    random.shuffle(order)
    pairs = torch.tensor([[[index, told[index]] for index in order]])
    as_top_k = to_logits(OutputKind("top_k", len(counts), digits), pairs, len(counts))
    as_probabilities = to_logits(OutputKind("probabilities", digits=digits), told[None], len(counts))
    assert_close(as_top_k, as_probabilities)


@given(st.integers(0, 8), st.lists(st.floats(-30, 30), min_size=2, max_size=20))
def test_digits_keep_the_order_and_the_distance(digits: int, logits: list[float]) -> None:
    """Nothing that was rounded away makes one class likelier than another, or moves it by more than a digit or so."""
    exact = torch.tensor(logits, dtype=torch.float64).softmax(0)
    told = (exact * 10**digits).round().div(10**digits).float()[None]
    filled = to_logits(OutputKind("probabilities", digits=digits), told, len(logits))[0]
    assert filled.isfinite().all()
    assert_close(filled.exp().sum(), torch.tensor(1.0))
    order = exact.argsort()
    assert (filled[order].diff() >= -1e-5).all()
    single_precision = 1e-6
    assert ((filled.exp() - exact).abs() <= len(logits) * 10.0**-digits + single_precision).all()


def test_label_is_smoothed() -> None:
    filled = _completed("label", [[2.0], [0.0]], 5, smoothing=0.2).exp()
    assert_close(filled, torch.tensor([[0.05, 0.05, 0.8, 0.05, 0.05], [0.8, 0.05, 0.05, 0.05, 0.05]]))


@pytest.mark.parametrize(
    ("text", "rows", "expected"),
    [
        ("logits", [[1.0, torch.nan]], r"finite numbers, got NaN"),
        ("logits", [[1.0, -torch.inf]], r"finite numbers, got NaN or infinity"),
        ("log_probabilities", [[torch.inf, -1.0]], r"finite numbers"),
        ("log_probabilities", [[3.0, -1.0]], r"add up to 1, within 0\.01, got sums from 20\.4"),
        ("log_probabilities", [[-3.0, -1.0]], r"add up to 1, within 0\.01, got sums from 0\.41"),
        ("probabilities", [[1.25, -0.25]], r"probabilities from 0 to 1, got -0\.25 to 1\.25"),
        ("probabilities", [[0.5, 0.52]], r"add up to 1, within 0\.01, got sums from 1\.02"),
        ("probabilities", [[0.5, 0.48]], r"add up to 1, within 0\.01"),
        ("probabilities:1", [[0.4, 0.3]], r"add up to 1, within 0\.21"),
        ("probabilities:3", [[90.0, 10.0]], r"from 0 to 1, got 10 to 90"),
        ("label", [[2.0]], r"classes from 0 to 1, got 2 to 2"),
        ("label", [[-1.0]], r"classes from 0 to 1"),
        ("label", [[0.5]], r"classes from 0 to 1"),
        ("label", [[0.0, 1.0]], r"the shape \[1, 1\], got \[1, 2\]"),
        ("top_k:2", [[[0.0, 0.5], [0.0, 0.5]]], r"different classes for a sample, got one class twice"),
        ("top_k:2", [[[0.0, 0.5], [2.0, 0.5]]], r"classes from 0 to 1, got 0 to 2"),
        ("top_k:1", [[[0.0, 1.5]]], r"probabilities from 0 to 1"),
        ("top_k:2", [[[0.0, 0.3], [1.0, 0.3]]], r"add up to 1, within"),
        ("top_k:1", [[[0.0, 0.7], [1.0, 0.3]]], r"the shape \[1, 1, 2\]"),
    ],
)
def test_values_that_cannot_be_are_refused(text: str, rows: list[list[float]], expected: str) -> None:
    """With two classes; the message names the kind and where to look."""
    with pytest.raises(WorkerError, match=rf"the teacher's {text}: expected .*{expected}.*teacher\.output"):
        _completed(text, rows, 2)


def test_top_k_that_leaves_classes_out_may_add_up_to_less() -> None:
    assert _top_k("top_k:1", [(0, 0.4)], 4) == pytest.approx([0.4, 0.2, 0.2, 0.2])
    with pytest.raises(WorkerError, match=r"add up to 1 or less"):
        _top_k("top_k:2", [(0, 0.9), (1, 0.4)], 4)


def test_digits_cut_off_are_believed() -> None:
    """0.499 and 0.501, with one digit, are told as 0.4 and 0.5 by who cuts off."""
    assert_close(_completed("probabilities:1", [[0.4, 0.5]]).exp(), torch.tensor([[4 / 9, 5 / 9]]))


def test_features_are_kept_beside_what_stands_for_the_logits() -> None:
    features = torch.rand(1, 4, 2, 2)
    whole = to_teacher_logits({"features.stage2": features, "label": torch.tensor([[1.0]])}, 2, label_smoothing=0.2)
    assert set(whole.targets) == {"logits", "features.stage2"}
    assert whole.targets["features.stage2"] is features
    assert_close(whole.targets["logits"].exp(), torch.tensor([[0.2, 0.8]]))
    assert (whole.output, whole.rule) == ("label", "label smoothing 0.2, the rest evenly over the other classes")


def test_two_distributions_are_one_too_many() -> None:
    rows = torch.tensor([[0.0, 0.0]])
    with pytest.raises(WorkerError, match="one distribution a sample, got logits, label"):
        to_teacher_logits({"logits": rows, "label": rows[:, :1]}, 2)


def test_nothing_bought_stands_for_nothing() -> None:
    assert to_teacher_logits({}, 2).output is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("probabilities", r"told as 0 get 1\.18e-38"),
        ("probabilities:3", r"told as 0 share .* at most 0\.0005 each"),
        ("top_k:5", r"not told share .* at least 5\.96e-08 together"),
        ("top_k:5:2", r"at least 0\.005 together; .* at most 0\.005 each"),
        ("label", r"smoothing 0\.1"),
    ],
)
def test_rule_is_said(text: str, said: str) -> None:
    assert re.search(said, rule_of(OutputKind.parse(text)) or "")


def test_nothing_is_said_where_nothing_is_changed() -> None:
    assert rule_of(OutputKind("logits")) is None
    assert rule_of(OutputKind("log_probabilities")) is None
