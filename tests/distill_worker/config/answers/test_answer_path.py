"""Paths in a JSON answer, by hand."""

from typing import Any

import pytest
from pydantic import ValidationError

from distill_worker.config.answers.answer_path import AnswerFields, values_at

ANSWER: dict[str, Any] = {
    "predictions": [{"class": "cat", "at": {"score": 0.5}}, {"class": "dog", "at": {"score": 0.25}}],
    "nested": [[1, 2], [3]],
    "names": ["cat", "dog"],
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("predictions[].class", ["cat", "dog"]),
        ("predictions[].at.score", [0.5, 0.25]),
        ("predictions[1].class", ["dog"]),
        ("names[]", ["cat", "dog"]),
        ("nested[][]", [1, 2, 3]),
        ("nested[0][]", [1, 2]),
        ("names", [["cat", "dog"]]),
    ],
)
def test_path_gives_the_values_in_order(path: str, values: list[Any]) -> None:
    assert values_at(path, ANSWER) == values


def test_path_may_begin_with_the_list_itself() -> None:
    assert values_at("[].label", [{"label": "a"}, {"label": "b"}]) == ["a", "b"]
    assert values_at("[0][].label", [[{"label": "a"}, {"label": "b"}]]) == ["a", "b"]


@pytest.mark.parametrize(
    ("path", "because"),
    [
        ("result[].class", r"expected the key 'result' in the answer .*, got an object with the keys 'predictions'"),
        ("predictions.class", r"expected the key 'class' in predictions .*, got a list of 2"),
        ("predictions[].label", r"expected the key 'label' in predictions\[\] .*, got an object with the keys 'class'"),
        ("names[].x", r"expected the key 'x' in names\[\] .*, got the value 'cat'"),
        ("predictions[2].class", r"expected a list with an element 2 at predictions .*, got a list of 2"),
        ("names[][]", r"expected a list at names\[\] .*, got the value 'cat'"),
    ],
)
def test_another_shape_is_named_with_its_place(path: str, because: str) -> None:
    with pytest.raises(ValueError, match=because):
        values_at(path, ANSWER)


@pytest.mark.parametrize("path", ["", ".", "a..b", "a[", "a[x]", "a]", "a[].", "a[]b", ".a", "$.a"[:2]])
def test_what_is_no_path_is_an_error_of_the_configuration(path: str) -> None:
    with pytest.raises(ValidationError, match=r"expected keys and \[\] such as predictions"):
        AnswerFields(labels=path)
