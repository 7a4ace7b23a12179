"""Command-line options for the terms of a key, derived from `KeyTerms`."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Annotated, Any, Final

import typer

from teacher_service.policy.key_terms import DEFAULT_TERMS, TERMS, Term

_METAVARS: Final[Mapping[str, str | None]] = {"text": None, "outputs": "POLICY", "time": "WHEN", "limit": "N"}

Features = Annotated[bool, typer.Option("--features", help="Let the key see intermediate features as well.")]


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
