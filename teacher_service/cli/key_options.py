"""Command-line options for the terms of a key."""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import typer

from teacher_service.cli.console import fail
from teacher_service.errors.service_errors import InvalidRequest
from teacher_service.keys.request_schemas import Form, filled

_NONE: Final = "none"
_NEVER: Final = "never"

Holder = Annotated[str | None, typer.Option(help="Person or team that holds the key.")]
Outputs = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help="Outputs that the key may see, separated by commas: logits, log_probabilities, probabilities[:digits], "
        "top_k:k[:digits], label, features[.layer]. Example: probabilities:3,top_k:5,label. Default for a new key: "
        "logits.",
    ),
]
Features = Annotated[bool, typer.Option("--features", help="Let the key see intermediate features as well.")]
Expires = Annotated[
    str | None,
    typer.Option(
        metavar="WHEN", help="Time when the key expires: 30d, 12h or 90m from now, an ISO 8601 date, or never."
    ),
]
RequestsPerMinute = Annotated[
    str | None, typer.Option(metavar="N", help="Maximum requests a minute, or none for no limit.")
]
SamplesPerMinute = Annotated[
    str | None, typer.Option(metavar="N", help="Maximum samples a minute, or none for no limit.")
]
MaxConcurrent = Annotated[
    str | None,
    typer.Option(metavar="N", help="Maximum requests in flight, or none for no limit."),
]

AnyForm = TypeVar("AnyForm", bound=Form)


def parse_options(form: type[AnyForm], **options: Any) -> AnyForm:
    """Validate the options that are not None; an invalid one ends the command with status 2."""
    named = {name: value for name, value in options.items() if value is not None}
    try:
        return filled(form, {name: _parsed(name, value) for name, value in named.items()}, time.time())
    except InvalidRequest as error:
        fail(error.detail.removeprefix("body: "))


def outputs_with_features(outputs: str | None, features: bool) -> str | None:
    """The policy that `--outputs` and `--features` set together."""
    return f"{outputs or 'logits'},features" if features else outputs


_NUMBERS: Final = frozenset({"requests_per_minute", "samples_per_minute", "max_concurrent"})
_REMOVES_LIMIT: Final[Mapping[str, str]] = {"expires_at": _NEVER} | dict.fromkeys(_NUMBERS, _NONE)


def _parsed(name: str, value: Any) -> Any:
    """The value of an option's text; text that is not a number stays, for the schema to reject."""
    if value == _REMOVES_LIMIT.get(name):
        return None
    if name in _NUMBERS and value.isascii() and value.lstrip("-").isdecimal() and len(value) < 20:
        return int(value)
    return value
