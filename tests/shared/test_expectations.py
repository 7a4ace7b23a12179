"""Problems of pydantic in our own words, whatever is wrong with a value."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.expectations import complaints, did_you_mean, expectation, no_choice, shown


class Inner(BaseModel):
    """A section."""

    a: int = 1


class Document(BaseModel):
    """A field of every type that settings and requests have."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    whole: Annotated[int, Field(ge=1, le=9)] = 1
    number: Annotated[float, Field(gt=0, lt=1.5)] = 1
    flag: bool = True
    text: Annotated[str, Field(min_length=1, max_length=3)] = "a"
    choice: Literal["auto", "cpu", "cuda"] = "auto"
    path: Path = Path()
    pair: tuple[int, int] = (1, 1)
    rows: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)
    names: list[str] = Field(default=[], max_length=2)
    table: dict[str, int] = Field(default={})
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("whole", "many", "expected a whole number, got 'many'"),
        ("whole", 2.5, "expected a whole number, got 2.5"),
        ("whole", [1], "expected a whole number, got [1]"),
        ("whole", 0, "expected at least 1, got 0"),
        ("whole", 10, "expected at most 9, got 10"),
        ("whole", "9" * 5000, "expected a whole number with fewer digits, got '99999"),
        ("number", "much", "expected a number, got 'much'"),
        ("number", 0, "expected more than 0, got 0"),
        ("number", 1.5, "expected less than 1.5, got 1.5"),
        ("number", float("inf"), "expected a finite number, got inf"),
        ("flag", "maybe", "expected true or false, got 'maybe'"),
        ("flag", None, "expected true or false, got null"),
        ("text", 5, "expected text, got 5"),
        ("text", True, "expected text, got true"),
        ("text", "", "expected at least 1 character, got ''"),
        ("text", "abcd", "expected at most 3 characters, got 'abcd'"),
        ("choice", "CPU", "expected 'auto', 'cpu' or 'cuda', got 'CPU'; did you mean 'cpu'?"),
        ("choice", 5, "expected 'auto', 'cpu' or 'cuda', got 5"),
        ("path", 5, "expected a path, got 5"),
        ("pair", 32, "expected a list, got 32"),
        ("pair", [1, 2, 3], "expected at most 2 values, got [1, 2, 3]"),
        ("pair", [1], "expected a value, got none"),
        ("rows", [], "expected at least 1 value, got []"),
        ("names", "a", "expected a list, got 'a'"),
        ("names", ["a"] * 9, "expected at most 2 values, got "),
        ("table", 5, "expected a section, got 5"),
        ("inner", 5, "expected a section, got 5"),
        ("unknown", 5, "expected only documented fields, got this one"),
    ],
)
def test_problem_says_what_was_expected_and_what_came(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Document.model_validate({field: value})
    [problem] = raised.value.errors(include_url=False)
    assert expectation(problem, table="a section").startswith(message)


def test_problems_of_a_document_are_one_line() -> None:
    with pytest.raises(ValidationError) as raised:
        Document.model_validate_json('{"whole": 0, "inner": {"a": "x"}}')
    assert complaints(raised.value) == "whole: expected at least 1, got 0; inner.a: expected a whole number, got 'x'"
    with pytest.raises(ValidationError) as raised:
        Document.model_validate_json("{")
    assert complaints(raised.value).startswith("expected JSON, got something else (EOF")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("CKD", "; did you mean 'ckd'?"),
        ("pseudo_label", "; did you mean 'pseudo-label'?"),
        ("ckdd", "; did you mean 'ckd'?"),
        ("transformer", ""),
        (5, ""),
        ("", ""),
    ],
)
def test_choice_that_was_meant_is_named(value: object, hint: str) -> None:
    assert did_you_mean(value, ["kd", "ckd", "pseudo-label"]) == hint
    assert no_choice(value, ["kd", "ckd", "pseudo-label"]).endswith(f", got {value!r}{hint}")


def test_large_value_is_shown_in_part() -> None:
    assert len(shown("x" * 10**6)) <= 60
    assert len(shown([["x" * 100] * 100] * 100)) <= 60
    assert len(shown(b"x" * 10**6)) <= 60
