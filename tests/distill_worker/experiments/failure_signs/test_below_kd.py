"""A row that is significantly below single-sample KD."""

from distill_worker.experiments.failure_signs.below_kd import LEAST_POINTS, below_kd
from distill_worker.experiments.results.table import paired_tests
from tests.distill_worker.experiments.failure_signs.planted import planted

KD = [80.0, 81.0, 82.0]


def test_row_below_kd_is_named_with_its_difference() -> None:
    """The differences -5.0, -5.1 and -4.9 have t = -5 / (0.1 / sqrt 3) = -86.6: p = 0.0001."""
    sign = below_kd(planted({("KD", 100): KD, ("CKD", 100): [75.0, 75.9, 77.1]}))
    assert sign is not None
    assert sign.startswith("A method is significantly below KD,")
    assert ": CKD at n = 100 by 5.0 points (p < 0.001). " in sign


def test_correction_is_over_all_rows_at_this_n_as_in_the_table() -> None:
    """CKD has t = -5 / (0.5 / sqrt 3) = -17.3, p = 0.0033. Twenty rows are tested, also those without a teacher."""
    own = [75.5, 76.0, 76.5]
    alone = {("KD", 100): KD, ("CKD", 100): own}
    rows = {(f"CE {number}", 100): [80.0, 81.1, 82.0 + number / 100] for number in range(19)}
    facts = planted(alone | rows)
    results = [{**one, "calls": 0} if one["method"].startswith("CE") else one for one in facts["results"]]
    assert below_kd(planted(alone)) is not None
    assert paired_tests(facts, 100)["CKD"].holm_p_value > 0.05
    assert below_kd(facts | {"results": results}) is None


def test_difference_that_is_not_significant_is_silent() -> None:
    """The differences -5, -1 and -9 have t = -2.17: p = 0.16."""
    assert below_kd(planted({("KD", 100): KD, ("CKD", 100): [75.0, 80.0, 73.0]})) is None


def test_significant_difference_below_the_bound_is_silent() -> None:
    spread = [-0.001, 0.0, 0.001]
    for points, fires in ((LEAST_POINTS - 0.01, False), (LEAST_POINTS + 0.01, True)):
        own = [value - points + noise for value, noise in zip(KD, spread, strict=True)]
        assert (below_kd(planted({("KD", 100): KD, ("CKD", 100): own})) is not None) == fires


def test_two_seeds_and_rows_above_are_silent() -> None:
    assert below_kd(planted({("KD", 100): [80, 81], ("CKD", 100): [70, 71]})) is None
    assert below_kd(planted({("KD", 100): KD, ("CKD", 100): [85.0, 86.1, 87.0]})) is None


def test_row_without_a_teacher_may_be_below() -> None:
    """CE learns from labels alone."""
    facts = planted({("KD", 100): KD, ("CE", 100): [60.0, 61.1, 62.0]})
    without = [{**one, "calls": 0} if one["method"] == "CE" else one for one in facts["results"]]
    assert below_kd(facts | {"results": without}) is None


def test_comparison_without_kd_is_silent() -> None:
    """As one whose facts, of an earlier version, do not name the rows of KD."""
    facts = planted({("KD", 100): KD, ("CKD", 100): [60.0, 61.1, 62.0]})
    assert below_kd(facts | {"single_sample_kd": []}) is None
    assert below_kd({name: fact for name, fact in facts.items() if name != "single_sample_kd"}) is None
