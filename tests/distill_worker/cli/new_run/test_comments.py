"""The comments of a new file are the docstrings of the settings."""

import pytest

from distill_worker.cli.new_run.comments import comment_on
from distill_worker.config.data_sections import Budget, Data
from distill_worker.config.teacher_address import OpenInferenceAddress


def test_comment_is_the_docstring() -> None:
    assert comment_on(Data, "name") == ["# One of `distill-worker datasets`."]


def test_inherited_setting_has_its_comment() -> None:
    assert comment_on(OpenInferenceAddress, "price_per_call") == [
        "# The price of the answer for one sample, in `currency`."
    ]


def test_long_comment_is_wrapped_and_says_all() -> None:
    lines = comment_on(Budget, "n")
    assert len(lines) > 1
    assert all(line.startswith("# ") and len(line) <= 100 for line in lines)
    joined = " ".join(line.removeprefix("# ") for line in lines)
    assert joined.startswith("Samples of the training set to use, one teacher call each.")
    assert joined.endswith("--max-calls.")


@pytest.mark.parametrize("key", ["crop", "absent"])
def test_setting_without_a_docstring_has_no_comment(key: str) -> None:
    assert comment_on(Data, key) == []
