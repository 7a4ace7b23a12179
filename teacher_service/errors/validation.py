"""Validation errors of pydantic in the wording of this service: the field, what was expected, and what it got."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_MOST_SHOWN: Final = 60
_OPENING: Final = re.compile(r"^\w+ should (?:be |have |match )?")


def complaint(problem: Mapping[str, Any], where: Sequence[str | int] | None = None) -> str:
    """One of the `errors()` of a ValidationError as a sentence. `where` replaces its `loc`."""
    kind, message = problem["type"], str(problem["msg"])
    place = ".".join(str(part) for part in (problem["loc"] if where is None else where)) or "body"
    if kind == "missing":
        return f"{place}: expected a value, got none"
    if kind == "extra_forbidden":
        return f"{place}: expected only documented fields, got this one"
    if kind == "json_invalid":
        return f"{place}: expected JSON, got something else ({problem['ctx']['error']})"
    if kind == "value_error":
        return f"{place}: {message.removeprefix('Value error, ')}"
    return f"{place}: {_OPENING.sub('expected ', message)}, got {_shown(problem.get('input'))}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
