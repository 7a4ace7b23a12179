"""The table over the students of a comparison, and its tests."""

import pytest
from scipy.stats import ttest_rel

from distill_worker.experiments.analyses.students import figure_rows, rank_rows, rank_tests
from distill_worker.experiments.results.accuracies import Result

_FIGURES = {"accuracy": 90.0, "ece": 2.0, "logit_rank": 5.0, "class_agreement": 0.5, "sharpness": 0.125}


def _results(method: str, *ranks: float, n: int = 50, seeds: tuple[int, ...] = (0, 1, 2)) -> list[Result]:
    return [
        {"method": method, "n": n, "seed": seed, **_FIGURES, "feature_rank": rank}
        for seed, rank in zip(seeds, ranks, strict=True)
    ]


def test_figures_are_means_and_deviations_over_the_seeds() -> None:
    """A figure that a student lacks is a dash; a single seed has no deviation."""
    unknown = [{**result, "class_agreement": None} for result in _results("CE", 7.0, seeds=(0,))]
    heading, rows = figure_rows({"n": [50], "results": _results("KD", 10.0, 12.0, 11.0) + unknown})
    assert heading[:5] == ("method", "n", "seeds", "accuracy %", "ECE %")
    ranks = ("11.00 ± 1.00", "5.00 ± 0.00")
    assert rows == [
        ("KD", "50", "3", "90.00 ± 0.00", "2.00 ± 0.00", *ranks, "0.500 ± 0.000", "0.125 ± 0.000"),
        ("CE", "50", "1", "90.00", "2.00", "7.00", "5.00", "-", "0.125"),
    ]


def test_ranks_are_tested_seed_by_seed_against_the_baseline() -> None:
    results = _results("KD", 10.0, 12.0, 11.0) + _results("CKD", 11.0, 14.0, 12.5)
    test = rank_tests({"baseline": "KD", "results": results}, 50, "feature_rank")["CKD"]
    assert test.difference == pytest.approx(1.5)
    assert (test.wins, test.seeds) == (3, 3)
    assert test.p_value == pytest.approx(ttest_rel([11.0, 14.0, 12.5], [10.0, 12.0, 11.0]).pvalue)


def test_row_without_the_seeds_of_the_baseline_is_not_tested() -> None:
    """Nor is a size at which the baseline has no student."""
    results = _results("KD", 10.0, 12.0, 11.0) + _results("CKD", 11.0, 14.0, seeds=(0, 2))
    facts = {"baseline": "KD", "n": [50, 100], "results": results + _results("CKD", 1.0, 2.0, 3.0, n=100)}
    assert rank_tests(facts, 50, "feature_rank") == {}
    assert rank_tests(facts, 100, "feature_rank") == {}
    assert rank_rows(facts)[1] == [("CKD", "50", "-", "-"), ("CKD", "100", "-", "-")]
