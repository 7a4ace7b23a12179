"""All signs of a comparison: each where it is planted, none in a sound one, and none missing in facts of before."""

from typing import Any

from distill_worker.experiments.failure_signs.of_comparison import signs_of_comparison
from distill_worker.experiments.report.comparison_page import report_of_comparison
from tests.distill_worker.experiments.report.finished import comparison


def failed() -> dict[str, Any]:
    """A comparison in which everything has gone wrong."""
    facts = comparison()
    for one in facts["results"]:
        if one["method"] == "CKD":
            one["accuracy"] = 0.3 + 0.0001 * one["seed"]
        if one["method"] == "auto" and one["n"] == 50:
            one["accuracy"] = 0.9 if one["seed"] else 0.1
    facts["results"][0]["rise"] = {"first": 2.0, "lowest": 0.5, "peak": 4.0, "step": 80, "last": 1.0}
    facts["teacher"] |= {"accuracy": 0.7, "agreement": {"agreements": 200, "samples": 1000, "num_classes": 10}}
    return facts | {"single_sample_kd": ["KD"]}


STARTS = (
    "The teacher's likeliest class is the label of 200 of 1,000",
    "A student is above its teacher, which has 70.0 %: KD has ",
    "A method is significantly below KD, which compares single samples alone: CKD at n = 50 by ",
    "Accuracy is flat while n grows: CKD has 30.0 % at n = 50",
    "The seeds of a row have a standard deviation above 8 points: auto at n = 50 has 46.2",
    "The loss diverged and rose to its first value or above: CE, n = 50, seed 0: from 0.5 to 4",
)


def test_every_planted_sign_is_in_facts_and_on_the_page() -> None:
    signs, report = signs_of_comparison(failed()), report_of_comparison(failed())
    assert len(signs) == len(STARTS)
    for sign, start in zip(signs, STARTS, strict=True):
        assert sign.startswith(start)
        assert sign in report.text("markdown")
    assert report.html.count("What to look at") == 1
    assert "far below its test accuracy of 70.0 %" in report.html


def test_sound_comparison_has_no_sign() -> None:
    """With the facts of today, and with those of earlier versions."""
    facts = comparison()
    agreement = {"agreements": 970, "samples": 1000, "num_classes": 10}
    today = {**facts, "single_sample_kd": ["KD"], "teacher": {**facts["teacher"], "agreement": agreement}}
    assert signs_of_comparison(facts) == signs_of_comparison(today) == []
    assert "What to look at" not in report_of_comparison(today).html
