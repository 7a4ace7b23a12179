"""Tables of a comparison, with figures worked out by hand."""

from typing import Any

import pytest

from distill_worker.experiments.results.table import (
    accuracy_rows,
    curve_rows,
    equivalent_heading,
    equivalent_rows,
    markdown,
    paired_rows,
)

FACTS: dict[str, Any] = {
    "n": [50, 100],
    "baseline": "KD",
    "results": [
        {
            "method": method,
            "track": "queried",
            "n": n,
            "seed": seed,
            "accuracy": accuracy,
            "calls": 0 if method == "CE" else n,
            "seconds": n / 10 + seed,
        }
        for method, by_n in {
            "CE": {50: [0.5, 0.7], 100: [0.6, 0.6]},
            "KD": {50: [0.6, 0.6], 100: [0.7, 0.8]},
            "CKD": {50: [0.62, 0.64], 100: [0.8, 0.7]},
        }.items()
        for n, values in by_n.items()
        for seed, accuracy in reversed(list(enumerate(values)))
    ],
}


def test_accuracies_are_mean_and_deviation_in_percent_with_calls_and_the_mean_time() -> None:
    heading, rows = accuracy_rows(FACTS)
    assert heading == ("method", "n = 50", "calls", "seconds", "n = 100", "calls", "seconds")
    assert rows == [
        ("CE", "60.00 ± 14.14", "0", "5.5", "60.00 ± 0.00", "0", "10.5"),
        ("KD", "60.00 ± 0.00", "50", "5.5", "75.00 ± 7.07", "100", "10.5"),
        ("CKD", "63.00 ± 1.41", "50", "5.5", "75.00 ± 7.07", "100", "10.5"),
    ]


def test_tracks_are_a_column_where_rows_differ_in_them() -> None:
    results = [result | {"track": f"{result['method']} track"} for result in FACTS["results"]]
    heading, rows = accuracy_rows({**FACTS, "results": results})
    assert heading[:3] == ("method", "track", "n = 50")
    assert [row[:3] for row in rows][1:] == [("KD", "KD track", "60.00 ± 0.00"), ("CKD", "CKD track", "63.00 ± 1.41")]


def test_differences_are_paired_by_seed_whatever_the_order() -> None:
    """CKD at 50: +2 and +4 points: t = 3, one degree of freedom, p = 1 - 2 atan(3) / pi = 0.205; Holm doubles it.

    The interval: plus and minus tan(0.475 pi) = 12.706 standard errors, each of 1 point, and of 10 at n = 100.
    """
    heading, rows = paired_rows(FACTS)
    assert heading[0] == "against KD"
    by_method = {row[0]: row[1:] for row in rows}
    assert by_method["CKD"][0] == "+3.00 [-9.71, +15.71] (2/2) 0.205, 0.410"
    assert by_method["CKD"][1].startswith("+0.00 [-127.06, +127.06] (1/2) 1.000")
    assert set(by_method) == {"CE", "CKD"}


def test_equal_differences_have_no_interval() -> None:
    """Rather than an infinite one; the heading names what Holm's correction is over."""
    results = [{**one, "accuracy": 0.6 if one["method"] == "KD" else 0.5} for one in FACTS["results"]]
    heading, rows = paired_rows({**FACTS, "results": results})
    assert heading[1].endswith("Holm's p over all rows at this n")
    assert rows[0] == ("CE", *["-10.00 [no interval] (0/2) 0.500, 1.000"] * 2)


def test_curve_of_the_reference_has_all_its_sizes() -> None:
    facts = {**FACTS, "n": [100], "reference": "KD", "reference_n": [50, 100]}
    assert curve_rows(facts) == (("reference", "n = 50", "n = 100"), [("KD", "60.00 ± 0.00", "75.00 ± 7.07")])


def test_equivalent_calls_have_their_interval_and_factor() -> None:
    """Bounds stay bounds, and one seed has no interval."""
    at = [{"relation": relation, "value": value} for relation, value in (("=", 130.4), ("<", 50.0), (">", 800.0))]
    cells = [
        {"method": "CE", "n": 50, "paid": 50, "calls": at[1], "low": at[1], "high": at[0]},
        {"method": "CE", "n": 100, "paid": 100, "calls": at[1], "low": None, "high": None},
        {"method": "CKD", "n": 50, "paid": 50, "calls": at[0], "low": at[1], "high": at[2]},
        {"method": "CKD", "n": 100, "paid": 100, "calls": at[2], "low": at[0], "high": at[2]},
    ]
    heading, rows = equivalent_rows({**FACTS, "reference": "KD", "seeds": 10, "equivalent_calls": cells})
    assert heading == ("equivalent calls of KD", *(f"n = {n}: calls [95 % interval], factor" for n in (50, 100)))
    assert rows == [
        ("CE", "< 50 [< 50, 130], < 1.0x", "< 50, < 0.5x"),
        ("CKD", "130 [< 50, > 800], 2.6x", "> 800 [130, > 800], > 8.0x"),
    ]


@pytest.mark.parametrize(
    ("seeds", "heading"),
    [
        (1, ", factor"),
        (2, " [bootstrap interval, too narrow with so few seeds], factor"),
        (9, " [bootstrap interval, too narrow with so few seeds], factor"),
        (10, " [95 % interval], factor"),
    ],
)
def test_bootstrap_over_few_seeds_is_not_called_a_95_percent_interval(seeds: int, heading: str) -> None:
    assert equivalent_heading(seeds) == heading


def test_one_seed_has_no_deviation() -> None:
    facts = {**FACTS, "results": [result for result in FACTS["results"] if result["seed"] == 0]}
    assert accuracy_rows(facts)[1][0] == ("CE", "50.00", "0", "5.0", "60.00", "0", "10.0")


def test_markdown_is_a_table() -> None:
    assert markdown(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.parametrize("calls", [[50, 60], [50, 50]])
def test_calls_that_differ_are_a_range(calls: list[int]) -> None:
    """Two samples may have the same mixture, and are then bought once."""
    results = [
        {"method": "m", "track": "queried", "n": 50, "seed": seed, "accuracy": 0.5, "calls": paid, "seconds": 1.0}
        for seed, paid in enumerate(calls)
    ]
    cell = accuracy_rows({"n": [50], "results": results})[1][0][2]
    assert cell == ("50-60" if calls[1] == 60 else "50")
