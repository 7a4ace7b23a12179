"""Paths in a JSON answer: where values stand in it, such as `predictions[].class`.

class                 the value of a key
predictions.best      the value of a key in the value of a key
predictions[]         each element of a list
predictions[0]        one element of a list
[]                    at the start: each element of the answer itself
"""

import re
from typing import Any, Final

from pydantic import field_validator

from distill_worker.config.section import Section

Step = str | int | None
"""A key, the index of an element, or None for each element."""
_STEP: Final = re.compile(r"(?:^|\.)(?P<key>[^.\[\]]+)|\[(?P<index>\d{0,9})\]")
_SHOWN_KEYS: Final = 10


def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of a path.

    Raises:
        ValueError: it is none.
    """
    steps: list[Step] = []
    position = 0
    while match := _STEP.match(text, position):
        steps.append(match["key"] or (int(match["index"]) if match["index"] else None))
        position = match.end()
    if not steps or position < len(text) or text.startswith("."):
        raise ValueError(f"expected keys and [] such as predictions[].class, got {text!r}")
    return tuple(steps)


def values_at(path: str, answer: Any) -> list[Any]:
    """The values that stand at a path, in their order.

    Raises:
        ValueError: the answer has another shape; the message says where.
    """
    values, at = [answer], ""
    for step in parse_path(path):
        values = [part for value in values for part in _parts(step, value, f"{at or 'the answer'} ({path})")]
        at += f"[{'' if step is None else step}]" if not isinstance(step, str) else f".{step}" if at else step
    return values


def _parts(step: Step, value: Any, where: str) -> list[Any]:
    if isinstance(step, str):
        if not isinstance(value, dict) or step not in value:
            raise ValueError(f"expected the key {step!r} in {where}, got {_shape(value)}")
        return [value[step]]
    elements = value if isinstance(value, list) else None
    if elements is None or (step is not None and step >= len(elements)):
        expected = "a list" if step is None else f"a list with an element {step}"
        raise ValueError(f"expected {expected} at {where}, got {_shape(value)}")
    return elements if step is None else [elements[step]]


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        keys = ", ".join(map(repr, list(value)[:_SHOWN_KEYS]))
        return f"an object with the keys {keys or 'none'}"
    return f"a list of {len(value)}" if isinstance(value, list) else f"the value {str(value)[:40]!r}"


class AnswerFields(Section):
    """Where labels and scores stand in a JSON answer."""

    labels: str = "[].label"
    """The labels, for example `predictions[].class`."""
    scores: str = "[].score"
    """The scores, one for each label in the same order, for example `predictions[].confidence`."""
    percent: bool = False
    """Whether scores are percentages, from 0 to 100."""

    @field_validator("labels", "scores")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        parse_path(path)
        return path
