"""The page of a sweep: its answer, a chart for each axis and point, and what is missing."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from distill_worker.errors import RunError
from distill_worker.experiments.report.sweep_page import report_of_sweep
from tests.distill_worker.experiments.report.finished import sweep_facts

TWO_AXES: Final = {"student.network": ["resnet8", "resnet14"], "training.steps": ["400", "800", "1600"]}
ONE_AXIS: Final = {"training.steps": ["400", "800"]}


@pytest.mark.parametrize(
    "settings",
    [
        {"axes": TWO_AXES},
        {"axes": {}},
        {"axes": ONE_AXIS, "seeds": 1, "n": [50]},
        {"axes": ONE_AXIS, "reference": True, "price": 0.25},
        {"axes": TWO_AXES, "lacks": 40},
        {"axes": ONE_AXIS, "lacks": 23},
    ],
    ids=["two axes", "no axis", "one seed", "reference", "unfinished", "one student"],
)
def test_page_of_any_sweep(settings: dict[str, Any], tmp_path: Path) -> None:
    """It needs nothing of the network."""
    report = report_of_sweep(sweep_facts(tmp_path, **settings))
    assert "http" not in report.html.replace("http://www.w3.org/", "")
    assert "<script" not in report.html
    assert "Does CKD help?" in report.html
    assert "distill-worker sweep sweep.toml" in report.html


def test_answer_comes_first_and_each_axis_and_point_has_a_chart(tmp_path: Path) -> None:
    """The chart of an axis has a panel for each n and value of the other axis, at most 6."""
    report = report_of_sweep(sweep_facts(tmp_path, axes=TWO_AXES))
    assert report.answers[0] == "Does CKD help?"
    assert "of 12 differences are significant" in report.answers[1]
    assert len(report.answers) == 2 + 12
    assert [chart.name for chart in report.charts] == ["axis-1", "axis-2", *(f"point-{one}" for one in range(1, 7))]
    by_network, by_steps, point, *_ = report.charts
    assert [axes.get_title(loc="left") for axes in by_network.figure.axes] == [
        f"{steps}, n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{n}" for steps in (400, 800, 1600) for n in (50, 200)
    ]
    labels = [label.get_text() for label in by_steps.figure.axes[-1].get_xticklabels()]
    assert (len(by_steps.figure.axes), labels) == (4, ["400", "800", "1600"])
    assert by_steps.finding.startswith("resnet")
    assert point.title == "student.network = resnet8, training.steps = 400: Test accuracy against calls"


def test_caption_of_a_point_has_no_verdict_of_its_own(tmp_path: Path) -> None:
    """The answer corrects over all differences, the tests of a point over its rows at one n: each says so."""
    facts = sweep_facts(tmp_path, axes=ONE_AXIS)
    report = report_of_sweep(facts)
    means = {
        n: max(
            (
                100
                * np.mean(
                    [
                        row["accuracy"]
                        for row in facts["points"][0]["results"]
                        if (row["method"], row["n"]) == (method, n)
                    ]
                ),
                method,
            )
            for method in ("KD", "CKD")
        )
        for n in (50, 200)
    }
    *_, point, _ = report.charts
    best = ", ".join(f"{method} at n = {n} ({mean:.1f} %)" for n, (mean, method) in means.items())
    assert point.finding.replace("\N{NO-BREAK SPACE}", " ") == f"The highest: {best}."
    assert all("significant" not in chart.finding for chart in report.charts)
    assert "after Holm's correction over all differences" in report.answers[1]
    assert all(
        "Holm's correction over the rows at each n" in table.title for table in report.tables if "t-test" in table.title
    )


def test_every_seed_is_drawn_at_every_value(tmp_path: Path) -> None:
    facts = sweep_facts(tmp_path, axes=ONE_AXIS, n=[50])
    chart = report_of_sweep(facts).charts[0]
    lines = [line for line in chart.figure.axes[0].lines if line.get_linestyle() == "None"]
    drawn = {float(value) for line in lines for value in np.asarray(line.get_ydata())}
    assert {100 * row["accuracy"] for row in facts["rows"]} <= drawn


def test_large_grid_is_drawn_in_part_and_says_so(tmp_path: Path) -> None:
    axes = {"training.steps": ["1", "2"], "data.name": ["a", "b", "c", "d"]}
    chart = report_of_sweep(sweep_facts(tmp_path, axes=axes)).charts[0]
    assert len(chart.figure.axes) == 6
    assert chart.finding.endswith(" 6 of 8 panels are drawn.")


def test_unfinished_sweep_says_what_is_missing(tmp_path: Path) -> None:
    """A size of a point is there when all of its students have a result."""
    report = report_of_sweep(sweep_facts(tmp_path, axes=ONE_AXIS, lacks=7))
    assert "7 of 24 students have no result yet." in report.html
    assert "17 of 24" in report.html
    steps_400, tests_400, *others = [table for table in report.tables if table.title.startswith("training.steps")]
    assert steps_400.heading == ("method", "n = 50", "calls", "seconds", "n = 200", "calls", "seconds")
    assert others == []
    assert "paired t-test" in tests_400.title
    assert len(report.values.rows) == 17


def test_failures_are_named(tmp_path: Path) -> None:
    facts = sweep_facts(tmp_path, axes=ONE_AXIS, lacks=5)
    facts["failures"] = {str(place): f"student {place} broke" for place in range(5)}
    html = report_of_sweep(facts).html
    assert "Failed: student 2 broke" in html
    assert "student 3 broke" not in html
    assert "2 more failed." in html


def test_sweep_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected a sweep with results, got one without"):
        report_of_sweep(sweep_facts(tmp_path, axes=ONE_AXIS, lacks=24))


def test_price_is_that_of_the_samples_that_were_bought(tmp_path: Path) -> None:
    """Once for all points, not for each student."""
    assert "50.00 EUR, at 0.25 each" in report_of_sweep(sweep_facts(tmp_path, axes=ONE_AXIS, price=0.25)).html


def test_samples_of_one_teacher_are_counted_once(tmp_path: Path) -> None:
    """Of a teacher of two data sets, the later number includes the earlier one."""
    facts = sweep_facts(tmp_path, axes={}, n=[50])
    (first,) = facts["sources"]
    other = {**first, "teacher": {**first["teacher"], "id": "other"}}
    facts["sources"] = [{**first, "samples": 70}, first, other]
    assert '<dd class="value">120</dd>' in report_of_sweep(facts).html
    facts["sources"][0]["samples"] = None
    assert '<dd class="value">unknown</dd>' in report_of_sweep(facts).html


def test_degraded_teacher_has_the_accuracy_of_what_it_sells(tmp_path: Path) -> None:
    facts = sweep_facts(tmp_path, axes={}, n=[50])
    (source,) = facts["sources"]
    teacher = {**source["teacher"], "accuracy": 0.601, "accuracy_before_degradation": 0.981}
    report = report_of_sweep(facts | {"sources": [{**source, "teacher": teacher}]})
    assert report.tables[0].rows[0][2] == "60.1\xa0% (98.1\xa0% before it was degraded)"


def test_values_are_those_of_the_tidy_table(tmp_path: Path) -> None:
    facts = sweep_facts(tmp_path, axes=ONE_AXIS)
    heading, *rows = report_of_sweep(facts).text("csv").splitlines()
    assert heading == "training.steps,method,track,n,seed,accuracy,calls,steps,seconds,id"
    assert rows[0] == f"400,KD,queried,50,0,{facts['rows'][0]['accuracy']},50,400,3.1,0-KD-50-0"
    assert len(rows) == 24
    markdown = report_of_sweep(facts).text("markdown")
    assert "## training.steps = 400: Against KD" in markdown
    assert "## training.steps = 800: Against KD" in markdown


def test_signs_of_failure_name_their_point(tmp_path: Path) -> None:
    facts = sweep_facts(tmp_path, axes=ONE_AXIS)
    assert "What to look at" not in report_of_sweep(facts).html
    first, second = facts["points"]
    failed = {**facts, "warnings": ["Two teachers."], "points": [first, {**second, "warnings": ["A flat row."]}]}
    report = report_of_sweep(failed)
    for line in ("Two teachers.", "training.steps = 800: A flat row."):
        assert f"<li>{line}</li>" in report.html
        assert line in report.answers
