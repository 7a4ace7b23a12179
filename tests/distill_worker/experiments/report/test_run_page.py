"""The page of a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_worker.data.datasets import load_dataset
from distill_worker.errors import RunError
from distill_worker.experiments.report.run_page import answer, key_figures, report_of_run
from distill_worker.experiments.report.run_record import RunRecord, read_run, write_command
from tests.distill_worker.experiments.report.finished import CLASSES, HOSTILE, analysis, write_run


def record(tmp_path: Path, classes: tuple[str, ...] = CLASSES) -> RunRecord:
    """A run with everything that a page shows."""
    folder = write_run(tmp_path / "run")
    write_command(
        folder,
        command="distill-worker run digits.toml",
        paid=30,
        price_per_call=0.02,
        currency="EUR",
        warnings=["The teacher is right on <b>41 %</b> of the bought samples."],
    )
    dataset = load_dataset("digits", tmp_path, path=None, image_size=None)
    return replace(read_run(folder), analysis=analysis(classes), dataset=dataset)


def test_answer_is_one_sentence_with_its_interval(tmp_path: Path) -> None:
    assert answer(record(tmp_path)).replace("\xa0", " ") == (
        "resnet8 learned from 50 answers of the teacher 3ba4d2146d52460b with ckd and gets 93.4 % of 797 test images "
        "right (91.4 to 94.9, 95 % Wilson interval)."
    )


def test_answer_without_a_teacher(tmp_path: Path) -> None:
    run = record(tmp_path)
    without = replace(run, result={**run.result, "teacher_id": None, "calls": 0})
    assert "from the labels of 50 images, without a teacher" in answer(without)


def test_price_is_that_of_the_students_calls(tmp_path: Path) -> None:
    assert ("Teacher calls", "50", "1.00 EUR, at 0.02 each") in key_figures(record(tmp_path))


def test_agreement_is_said_to_be_on_what_the_student_was_trained_on(tmp_path: Path) -> None:
    """It says how well the student fits its samples; those that are held out are not among them."""
    html = report_of_run(record(tmp_path)).html
    assert html.count("of the 50 samples that it was trained on") == 1
    assert html.count("on the 50 samples that it was trained on") == 1


def test_page_is_the_same_each_time_and_needs_no_network(tmp_path: Path) -> None:
    run = record(tmp_path)
    page = report_of_run(run).html
    assert page == report_of_run(run).html
    assert "http" not in page.replace("http://www.w3.org/", "")
    assert page.count("data:image/png;base64,") >= 24 + 12


def test_names_from_files_are_no_markup(tmp_path: Path) -> None:
    report = report_of_run(record(tmp_path, HOSTILE))
    page = report.html
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("</style>") == 1
    assert "&lt;b&gt;41 %&lt;/b&gt;" in page
    assert "9\\|" in report.text("markdown")


def test_page_of_a_run_without_an_analysis(tmp_path: Path) -> None:
    run = replace(read_run(write_run(tmp_path / "run")), missing="The data are not at hand.")
    page = report_of_run(run).html
    assert "The data are not at hand." in page
    assert 'id="errors"' not in page


@pytest.mark.parametrize(
    "changed",
    [
        {"class_correlation": None, "disputed": [], "errors": [], "fidelity": {"bought": None}},
        {"class_correlation": {"student": [[1.0]], "teacher": [[1.0]], "agreement": None}, "classes": ["only"]}
        | {"confusion": [[5]], "class_accuracy": [1.0], "errors": [], "disputed": []},
        {"classes": list("0123456789"), "class_accuracy": [None, *[0.5] * 9]},
        {"spectrum": {"features": [1.0, 0.2], "logits": [1.0], "teacher": {"features": [1.0], "logits": [1.0, 0.5]}}},
    ],
    ids=["no teacher", "one class", "an absent class", "teacher's spectrum"],
)
def test_page_of_an_unusual_analysis(tmp_path: Path, changed: dict[str, Any]) -> None:
    run = record(tmp_path)
    assert report_of_run(replace(run, analysis={**run.analysis, **changed})).html


def test_page_of_many_classes(tmp_path: Path) -> None:
    names = tuple(f"class {number}" for number in range(100))
    facts = analysis(names) | {"disputed": [], "errors": []}
    assert len(report_of_run(replace(record(tmp_path), analysis=facts)).html) < 1_000_000


def test_losses_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    run = record(tmp_path)
    metrics = [{"step": 1, "loss": float("nan"), "kd": 1.0}, {"step": 2, "loss": 2.0, "kd": -1.0, "label": 0.0}]
    assert report_of_run(replace(run, metrics=metrics)).html
    assert report_of_run(replace(run, metrics=[])).html


def test_values_are_in_full_precision(tmp_path: Path) -> None:
    assert f"accuracy,{744 / 797}\n" in report_of_run(record(tmp_path)).text("csv")


def test_folder_without_a_result_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="finished run"):
        read_run(tmp_path)
