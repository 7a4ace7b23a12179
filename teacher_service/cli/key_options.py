"""Command-line options for the terms of a key, derived from `KeyTerms`."""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Annotated, Any, Final, TypeVar

import typer

from teacher_service.cli.console import fail
from teacher_service.errors.service_errors import InvalidRequest
from teacher_service.keys.request_schemas import RequestSchema, parse_request
from teacher_service.policy.key_terms import DEFAULT_TERMS, TERMS, Term

_METAVARS: Final[Mapping[str, str | None]] = {"text": None, "outputs": "POLICY", "time": "WHEN", "limit": "N"}
_WORDS_FOR_NONE: Final = {"time": "never", "limit": "none"}

Features = Annotated[bool, typer.Option("--features", help="Let the key see intermediate features as well.")]

AnyRequest = TypeVar("AnyRequest", bound=RequestSchema)


def with_term_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `terms` of a command by an option for each term; it receives their values by name."""

    @wraps(command)
    def run(**options: Any) -> None:
        terms = {name: options.pop(_option_of(name, term)) for name, term in TERMS.items()}
        if options.pop("features"):
            terms["outputs"] = f"{terms['outputs'] or DEFAULT_TERMS.outputs},features"
        command(**options, terms=terms)

    parameters = [*inspect.signature(command).parameters.values()]
    place = [parameter.name for parameter in parameters].index("terms")
    parameters[place : place + 1] = _parameters()
    run.__dict__["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def parse_options(schema: type[AnyRequest], fields: Mapping[str, Any]) -> AnyRequest:
    """Validate the options that are not None; an invalid one ends the command as wrong usage."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return parse_request(schema, {name: _parsed(name, value) for name, value in given.items()}, time.time())
    except InvalidRequest as error:
        fail(error.detail.removeprefix("body: "))


def _parameters() -> Iterator[inspect.Parameter]:
    for name, term in TERMS.items():
        option = typer.Option(metavar=_METAVARS[term.kind], help=term.help)
        yield _parameter(_option_of(name, term), Annotated[str | None, option], None)
        if term.kind == "outputs":
            yield _parameter("features", Features, default=False)


def _parameter(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


def _option_of(name: str, term: Term) -> str:
    return term.option or name


def _parsed(name: str, text: Any) -> Any:
    """The value of an option's text. Text that is not a number stays; the schema rejects it as a limit."""
    kind = TERMS[name].kind if name in TERMS else ""
    if text == _WORDS_FOR_NONE.get(kind):
        return None
    if kind == "limit" and text.isascii() and text.lstrip("-").isdecimal() and len(text) < 20:
        return int(text)
    return text
