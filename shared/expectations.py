"""The problems that pydantic reports, in words for people: what was expected, what came, and what may have been meant.

Both programs check settings and requests with pydantic, and say the same of the same mistake.
"""

import re
import reprlib
from collections.abc import Iterable, Mapping
from datetime import date, time
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError

from shared.durable.database_url import without_password

_MOST_SHOWN: Final = 60


class _Short(reprlib.Repr):
    """Texts of values, without the password of a URL, at any depth."""

    def repr_str(self, x: str, level: int) -> str:
        return super().repr_str(without_password(x), level)


_SHORT: Final = _Short()  # unlike repr, it reads only what it shows
_SHORT.maxlist = _SHORT.maxtuple = 16
_SHORT.maxlong = _SHORT.maxstring = _SHORT.maxother = _MOST_SHOWN
_OPENING: Final = re.compile(r"^\w+ should (?:be |have |match )?")

_PHRASES: Final[Mapping[str, str]] = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number with fewer digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_unicode": "text",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}
_LENGTHS: Final[Mapping[str, tuple[str, str, str]]] = {
    "string_too_short": ("at least", "min_length", "character"),
    "string_too_long": ("at most", "max_length", "character"),
    "too_short": ("at least", "min_length", "value"),
    "too_long": ("at most", "max_length", "value"),
}
_TABLES: Final = ("dict_type", "model_type", "model_attributes_type")


def complaints(error: ValidationError) -> str:
    """All problems of a JSON document in one line, each with its place."""
    problems = error.errors(include_url=False)
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, problem["loc"])), expectation(problem, table="an object"))))
        for problem in problems
    )


def expectation(problem: Mapping[str, Any], *, table: str) -> str:
    """One of the `errors()` of a `ValidationError`, without its place: `expected ..., got ...`.

    Args:
        problem: of any type but `union_tag_...`, which needs the names of the document.
        table: what fields with values are called, such as "a section".
    """
    kind, context = problem["type"], problem.get("ctx", {})
    match kind:
        case "missing":
            return "expected a value, got none"
        case "extra_forbidden":
            return "expected only documented fields, got this one"
        case "json_invalid":
            return f"expected JSON, got something else ({context['error']})"
        case "value_error":
            return str(problem["msg"]).removeprefix("Value error, ")
    phrase = _phrase(kind, context, table) or _OPENING.sub("", str(problem["msg"]))
    got = problem.get("input")
    choices = re.findall(r"'([^']*)'", phrase) if kind in ("literal_error", "enum") else []
    return f"expected {phrase}, got {shown(got)}{did_you_mean(got, choices)}"


def _phrase(kind: str, context: Mapping[str, Any], table: str) -> str:
    """What was expected; empty for a type of problem that has no words here."""
    if kind in _TABLES:
        return table
    if kind in _LENGTHS:
        bound, name, noun = _LENGTHS[kind]
        return f"{bound} {context[name]} {noun}{'' if context[name] == 1 else 's'}"
    return _PHRASES.get(kind, "").format(**{name: _number(value) for name, value in context.items()})


def no_choice(value: object, choices: Iterable[str]) -> str:
    """The message for a value that is none of the choices."""
    names = list(choices)
    return f"expected one of {', '.join(names)}, got {shown(value)}{did_you_mean(value, names)}"


def did_you_mean(value: object, choices: Iterable[str]) -> str:
    """A question with the choice that is most like the value, in any case of letters; empty if none is."""
    if not isinstance(value, str):
        return ""
    by_plain_name = {_plain(choice): choice for choice in choices}
    close = get_close_matches(_plain(value), by_plain_name, n=1)
    return f"; did you mean {by_plain_name[close[0]]!r}?" if close else ""


def shown(value: object) -> str:
    """A text of the value for a message, of at most 60 characters, however large the value is."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, date | time):
        return str(value)
    text = repr(value[:_MOST_SHOWN]) if isinstance(value, bytes) else _SHORT.repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value
