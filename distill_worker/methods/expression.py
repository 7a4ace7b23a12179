"""Methods as one expression, such as `kd(temperature=2) + ckd(pairing=anchors)`.

Names are those of `distill-worker methods`, parameters those of a method's section. A value is a number, `true` or
`false`, or a word, with or without quotes. The first method sets the weight of the labels, as `[method]` does.
"""

import ast
import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from distill_worker.errors import ConfigError
from distill_worker.methods import METHODS, Method, why_not_together
from shared.expectations import did_you_mean, expectation, no_choice, shown

_PART: Final = re.compile(r"\s*(?P<name>[\w-]+)\s*(?:\((?P<parameters>[^()]*)\))?\s*(?:\+|$)")
_PARAMETER: Final = re.compile(r"\s*(?P<name>\w+)\s*=\s*(?P<value>[^=]*?)\s*")
_EXAMPLE: Final = "such as 'kd + ckd(pairing=anchors)'"
_WORDS: Final = {"true": True, "false": False}


def sections(expression: str) -> list[dict[str, Any]]:
    """The section of each method, `name` and the parameters that are given; the first is `[method]`.

    Raises:
        ConfigError: it is no expression of methods.
    """
    found, position = list[dict[str, Any]](), 0
    while match := _PART.match(expression, position):
        found.append({"name": match["name"], **dict(_parameters(match["parameters"] or ""))})
        position = match.end()
    if not found or position < len(expression) or expression.rstrip().endswith("+"):
        raise ConfigError(
            f"method: expected names of methods with a + between them, {_EXAMPLE}, got {shown(expression)}"
        )
    return found


def methods_in(expression: str) -> list[Method]:
    """The methods of an expression.

    Raises:
        ConfigError: an unknown name or parameter, a wrong value, or methods that cannot be added up.
    """
    methods = [_method(section) for section in sections(expression)]
    for added in methods[1:]:
        if added.label_weight != type(added).model_fields["label_weight"].default:
            raise ConfigError("method: label_weight is set by the first method; leave it out of the others")
    if (reason := why_not_together(methods)) is not None:
        raise ConfigError(f"method: {reason}")
    return methods


def _method(section: dict[str, Any]) -> Method:
    name = section["name"]
    if name not in METHODS:
        raise ConfigError(f"method: {no_choice(name, METHODS)}")
    kind = METHODS[name]
    names = [field for field in kind.model_fields if field != "name"]
    for parameter in section:
        if parameter not in kind.model_fields:
            raise ConfigError(
                f"method: {name} has no parameter {parameter!r}; expected one of {', '.join(names)}"
                f"{did_you_mean(parameter, names)}"
            )
    try:
        return kind.model_validate(section)
    except ValidationError as error:
        problems = (
            ": ".join([".".join(map(str, (name, *problem["loc"]))), expectation(problem, table="a section")])
            for problem in error.errors(include_url=False)
        )
        raise ConfigError(f"method: {'; '.join(problems)}") from error


def _parameters(text: str) -> Iterator[tuple[str, Any]]:
    given = set[str]()
    for part in text.split(",") if text.strip() else ():
        match = _PARAMETER.fullmatch(part)
        if match is None or not match["value"]:
            raise ConfigError(
                f"method: expected parameter=value in the brackets, {_EXAMPLE}, got {shown(part.strip())}"
            )
        if match["name"] in given | {"name"}:
            raise ConfigError(f"method: expected each parameter once, got {match['name']!r} again")
        given.add(match["name"])
        yield match["name"], _value(match["value"])


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
