"""Validation errors of pydantic as sentences: the field, what was expected, and what it got."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.expectations import expectation


def complaint(problem: Mapping[str, Any], where: Sequence[str | int] | None = None) -> str:
    """One of the `errors()` of a ValidationError as a sentence. `where` replaces its `loc`."""
    place = ".".join(str(part) for part in (problem["loc"] if where is None else where)) or "body"
    return f"{place}: {expectation(problem, table='an object')}"
