"""The answer in words has the difference, its interval, the seeds, and whether it is significant."""

from typing import Any

import pytest
from scipy.stats import ttest_rel

from distill_worker.experiments.sweep.results.answers import answers


def _rows(accuracies: dict[str, list[float]], **columns: Any) -> list[dict[str, Any]]:
    """Accuracies in percent by method and seed; each student is another one."""
    place = "-".join(map(str, columns.values()))
    return [
        {
            **columns,
            "method": method,
            "n": 100,
            "seed": seed,
            "accuracy": accuracy / 100,
            "id": f"{method}{place}{seed}",
        }
        for method, of_seeds in accuracies.items()
        for seed, accuracy in enumerate(of_seeds)
    ]


def test_small_difference_is_not_significant() -> None:
    """The numbers are those of the paired t-test, and its p is printed, too."""
    base, other = [70.0, 72.0, 71.0], [70.4, 71.6, 71.6]
    test = ttest_rel(other, base)
    low, high = test.confidence_interval(0.95)
    assert answers(_rows({"k = 2": base, "k = 3": other}), [], ["method"], {}) == [
        f"n = 100: k = 3 is 0.2 points above k = 2 (95 % interval {low:.1f} to {high:.1f}, 3 seeds): not significant "
        f"(Holm's p = {test.pvalue:.3f}).",
        "0 of 1 difference are significant (below 5% after Holm's correction over all differences).",
    ]


def test_clear_loss_is_significant_and_its_interval_is_that_of_the_loss() -> None:
    rows = _rows({"KD": [70.0, 72.0, 71.0, 73.0], "CE": [60.1, 62.0, 61.2, 63.1]})
    sentence, count = answers(rows, [], ["method"], {"method": "KD"})
    assert sentence.startswith(
        "n = 100: CE is 9.9 points below KD (95 % interval 9.8 to 10.0, 4 seeds): significant (Holm's p"
    )
    assert count.startswith("1 of 1")


def test_values_of_an_axis_are_compared_method_by_method() -> None:
    """With the first value, where everything else is equal; the correction counts all sentences."""
    rows = [
        *_rows({"KD": [70.0, 71.0], "CKD": [72.0, 73.0]}, size="small"),
        *_rows({"KD": [75.0, 76.2], "CKD": [72.0, 73.0]}, size="large"),
    ]
    sentences = answers(rows, ["size"], ["size"], {"method": "KD"})
    assert [sentence.split(" (")[0] for sentence in sentences[:-1]] == [
        "KD, n = 100: size = large is 5.1 points above size = small",
        "CKD, n = 100: size = large is 0.0 points above size = small",
    ]
    assert sentences[-1].startswith("1 of 2")


def test_sizes_are_compared_with_the_first_one() -> None:
    rows = [
        *_rows({"KD": [80.0, 81.0]}, size=60000),
        *_rows({"KD": [72.0, 73.2]}, size=100),
    ]
    sentence, _ = answers([{**row, "n": row["size"]} for row in rows], [], ["n"], {"method": "KD"})
    assert sentence.startswith("KD: n = 100 is 7.9 points below n = 60000 (95 % interval")


def test_value_that_lacks_a_seed_takes_none_from_the_others() -> None:
    """Of KD with the middle size, one seed is not trained yet: the large size is compared on all three."""
    rows = [
        *_rows({"KD": [70.0, 72.0, 71.0]}, size="small"),
        *_rows({"KD": [71.0, 73.1]}, size="middle"),
        *_rows({"KD": [75.0, 76.2, 75.1]}, size="large"),
    ]
    middle, large, _ = answers(rows, ["size"], ["size"], {})
    assert ", 2 seeds)" in middle
    assert ", 3 seeds)" in large


def test_student_of_two_points_is_not_compared_with_itself() -> None:
    """CE has no teacher, so points that differ in the teacher share its students. It counts in no correction either."""
    rows = [
        *_rows({"CE": [60.0, 61.0], "KD": [70.0, 71.0]}, teacher="small"),
        *_rows({"CE": [60.0, 61.0], "KD": [75.0, 76.2]}, teacher="large"),
    ]
    shared = [{**row, "id": f"CE{row['seed']}"} if row["method"] == "CE" else row for row in rows]
    sentence, count = answers(shared, ["teacher"], ["teacher"], {})
    assert sentence.startswith("KD, n = 100: teacher = large is 5.1 points above teacher = small")
    assert count.startswith("1 of 1")


def test_equal_differences_have_no_interval() -> None:
    """Three differences of 1 point: no spread for a t-test, and no infinite interval in its place."""
    sentence, _ = answers(_rows({"KD": [70.0, 72.0, 71.0], "CKD": [71.0, 73.0, 72.0]}), [], ["method"], {})
    assert sentence == (
        "n = 100: CKD is 1.0 points above KD (no interval, 3 seeds): not significant (Holm's p = 0.250)."
    )


@pytest.mark.parametrize("accuracies", [{"KD": [70.0], "CE": [60.0]}, {"KD": [70.0, 71.0]}, {"CE": [70.0, 71.0]}])
def test_nothing_is_said_without_two_seeds_and_two_values(accuracies: dict[str, list[float]]) -> None:
    assert answers(_rows(accuracies), [], ["method"], {"method": "KD"}) == []
