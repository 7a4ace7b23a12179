"""The page of a comparison."""

import json
from pathlib import Path
from typing import Any

import pytest

from distill_worker.errors import ConfigError
from distill_worker.experiments.report.answers import answers_of
from distill_worker.experiments.report.comparison_page import about, read_comparison, report_of_comparison
from tests.distill_worker.experiments.report.finished import comparison


def facts_of(accuracies: dict[str, list[float]], *, baseline: str | None) -> dict[str, Any]:
    """A comparison with one n and these accuracies, in percent, by seed."""
    facts = comparison(n=(50,), seeds=len(next(iter(accuracies.values()))), baseline=baseline)
    example = facts["results"][0]
    results = [
        {**example, "method": method, "seed": seed, "accuracy": value / 100}
        for method, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return facts | {"results": results}


def answers(facts: dict[str, Any]) -> list[str]:
    """The answers, with plain spaces."""
    return [one.replace("\xa0", " ") for one in answers_of(facts)]


def test_answer_says_how_much_better_and_how_sure() -> None:
    """The differences 1, 2, 3 have the mean 2 and t = 2 / (1 / sqrt(3)) = 3.46: p = 0.074 with 2 degrees of freedom."""
    facts = facts_of({"KD": [80.0, 80.0, 80.0], "CKD": [81.0, 82.0, 83.0]}, baseline="KD")
    [answer] = answers(facts)
    assert answer == "CKD is 2.0 points above KD at n = 50 (3 seeds): not significant (p = 0.074)."


def test_answer_is_significant_after_the_correction_alone() -> None:
    facts = facts_of({"KD": [80.0, 80.1, 80.0], "CKD": [85.0, 85.1, 85.01]}, baseline="KD")
    assert ": significant (p" in answers_of(facts)[0]


def test_answer_without_a_test() -> None:
    """One seed; no baseline; the baseline is the best; one row."""
    assert "one seed, so no test" in answers(facts_of({"KD": [80.0], "CKD": [81.0]}, baseline="KD"))[0]
    assert answers(facts_of({"KD": [80.0], "CKD": [81.0]}, baseline=None))[0].startswith("CKD is the best of 2 rows")
    assert "no row is above it" in answers(facts_of({"KD": [80.0], "CKD": [79.0]}, baseline="KD"))[0]
    assert answers(facts_of({"KD": [80.0]}, baseline=None)) == ["KD gets 80.0 % at n = 50 (1 seed)."]


def test_best_row_of_one_track_is_not_said_to_be_the_best_of_all() -> None:
    """KD is the best of its track, and auto is above it with a pool."""
    facts = facts_of({"KD": [80.0], "CKD": [79.0], "auto": [90.0]}, baseline="KD")
    results = [{**one, "track": "pool" if one["method"] == "auto" else "queried"} for one in facts["results"]]
    sentence, _ = answers(facts | {"results": results})
    assert sentence == (
        "KD (track queried) is the baseline at n = 50, and no row of its track is above it: 80.0 % (1 seed)."
    )


def test_answers_name_each_n_and_track() -> None:
    sentences = answers(comparison())
    assert len(sentences) == 6
    assert "(track queried) is " in sentences[0]


@pytest.mark.parametrize(
    "facts",
    [
        comparison(),
        comparison(reference=True),
        comparison(n=(50,), seeds=1, baseline=None),
        comparison(n=(50, 60), seeds=2),
        {**comparison(n=(50,)), "n": 50},
        {**comparison(), "teacher": {"id": None, "outputs": []}, "calls_paid": None, "quota": None},
    ],
    ids=["usual", "reference", "one", "linear", "demo", "no teacher"],
)
def test_page_of_any_comparison(facts: dict[str, Any]) -> None:
    """It needs nothing of the network, and is the same each time."""
    report = report_of_comparison(facts)
    assert report.html == report_of_comparison(facts).html
    assert "http" not in report.html.replace("http://www.w3.org/", "")
    assert "<script" not in report.html


def test_chart_of_many_rows_has_few_colours() -> None:
    """And the baseline is among them; every row has its dots in the charts by row."""
    facts = facts_of(
        {"KD": [10.0, 11.0]} | {f"row {number}": [80.0 + number] * 2 for number in range(20)}, baseline="KD"
    )
    larger = [{**one, "n": 100, "calls": 100} for one in facts["results"]]
    report = report_of_comparison(facts | {"n": [50, 100], "results": facts["results"] + larger})
    lines, *by_row = report.charts
    legend = {text.get_text() for text in lines.figure.legends[0].get_texts()}
    assert legend == {"others", "KD", *(f"row {number}" for number in range(15, 20))}
    assert [chart.name for chart in by_row] == ["accuracy-50", "accuracy-100", "seconds"]


def test_time_of_a_student_is_that_at_the_largest_n_of_the_table() -> None:
    """The reference has smaller and larger sizes of its own, which no other row has."""
    facts = comparison(n=(50, 200), reference=True)
    results = [{**one, "seconds": float(one["n"])} for one in facts["results"]]
    assert max(one["n"] for one in results) > 200
    chart = report_of_comparison(facts | {"results": results}).charts[-1]
    assert chart.title == "Time of a student at n\xa0=\xa0200"
    assert chart.finding.endswith("takes the longest: 200.0 s.")


def test_tables_and_values_are_those_of_the_comparison() -> None:
    report = report_of_comparison(comparison())
    assert "| CKD | queried |" in report.text("markdown")
    lines = report.text("csv").splitlines()
    assert lines[0] == "method,track,n,seed,calls,steps,accuracy,seconds"
    assert len(lines) == 1 + 4 * 3 * 3


def test_degraded_teacher_has_the_accuracy_of_what_it_sells() -> None:
    facts = comparison(n=(50,))
    teacher = {**facts["teacher"], "accuracy": 0.601, "accuracy_before_degradation": 0.981}
    assert "60.1\xa0% (98.1\xa0% before it was degraded)" in report_of_comparison({**facts, "teacher": teacher}).html


@pytest.mark.parametrize(
    ("same", "line"),
    [(True, "all seeds share one draw of samples"), (False, "each seed draws its own samples")],
)
def test_page_says_whether_seeds_share_their_samples(same: bool, line: str) -> None:
    assert ("samples", line) in about({**comparison(), "same_samples": same})


def test_file_of_an_earlier_version_does_not_say_whether_seeds_share_their_samples() -> None:
    assert "samples" not in dict(about(comparison()))


def test_file_that_is_no_comparison_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    with pytest.raises(ConfigError, match="got neither"):
        read_comparison(file)
    file.write_text(json.dumps({"results": comparison()["results"]}))
    with pytest.raises(ConfigError, match="without n, seeds"):
        read_comparison(file)
