"""The terms of a key as options of a command."""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import typer

from teacher_service.cli.console import fail
from teacher_service.errors.service_errors import InvalidRequest
from teacher_service.keys.request_schemas import Form, filled

_NONE: Final = "none"
_NEVER: Final = "never"

Holder = Annotated[str | None, typer.Option(help="Whose key it is.")]
Outputs = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help="What the key may see, with commas between: logits, log_probabilities, probabilities[:digits], "
        "top_k:k[:digits], label, features[.layer]; such as probabilities:3,top_k:5,label. New keys see logits.",
    ),
]
Features = Annotated[bool, typer.Option("--features", help="Let the key see intermediate features too.")]
Expires = Annotated[
    str | None,
    typer.Option(
        metavar="WHEN", help="From when on it is refused: 30d, 12h, 90m from now, an ISO 8601 date, or never."
    ),
]
RequestsPerMinute = Annotated[
    str | None, typer.Option(metavar="N", help="How many requests it may send a minute, or none for no such limit.")
]
SamplesPerMinute = Annotated[
    str | None, typer.Option(metavar="N", help="How many samples it may ask a minute, or none for no such limit.")
]
MaxConcurrent = Annotated[
    str | None,
    typer.Option(metavar="N", help="How many of its requests may be answered at a time, or none for no such limit."),
]

AnyForm = TypeVar("AnyForm", bound=Form)


def checked(form: type[AnyForm], **given: Any) -> AnyForm:
    """A form of the options that were given (not None); else the command ends as a wrong call."""
    named = {name: value for name, value in given.items() if value is not None}
    try:
        return filled(form, {name: _meant(name, value) for name, value in named.items()}, time.time())
    except InvalidRequest as error:
        fail(error.detail.removeprefix("body: "))


def outputs_with_features(outputs: str | None, features: bool) -> str | None:
    """What `--outputs` and `--features` mean together."""
    return f"{outputs or 'logits'},features" if features else outputs


_NUMBERS: Final = frozenset({"requests_per_minute", "samples_per_minute", "max_concurrent"})
_TAKES_AWAY: Final[Mapping[str, str]] = {"expires_at": _NEVER} | dict.fromkeys(_NUMBERS, _NONE)


def _meant(name: str, said: Any) -> Any:
    """What the words on the command line stand for; what is no number is left for the form to refuse."""
    if said == _TAKES_AWAY.get(name):
        return None
    if name in _NUMBERS and said.isascii() and said.lstrip("-").isdecimal() and len(said) < 20:
        return int(said)
    return said
