"""What an operator asks for a key, in a JSON body or on the command line, checked field by field.

What passes here fits every database: no text is too long for its column, and none has a character that one of them
refuses.
"""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from shared.times import parse_end
from teacher_service.errors.service_errors import InvalidRequest
from teacher_service.errors.validation import complaint
from teacher_service.policy.key_terms import KeyTerms, NamedTerms
from teacher_service.policy.output_policy import EXAMPLE, LOGITS_ALONE, OutputPolicy
from teacher_service.policy.quota import MAX_QUOTA
from teacher_service.policy.rate_limit import MAX_PER_MINUTE

_MAX_POLICY: Final = 500
_MAX_CONCURRENT: Final = 10**6
_PLAIN_TEXT: Final = {"pattern": "^[^\\u0000-\\u001f\\u007f]*$"}


def _plain(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError(f"expected text without control characters, got {text[:60]!r}")
    return text


def _printable(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"expected printable ASCII characters, got {text[:60]!r}")
    return text


def _policy(said: object) -> OutputPolicy:
    if not isinstance(said, str) or len(said) > _MAX_POLICY or not said.isprintable():
        raise ValueError(
            f"expected at most {_MAX_POLICY} printable characters, such as {EXAMPLE}, got {str(said)[:60]!r}"
        )
    try:
        return OutputPolicy.parse(said)
    except ValueError as error:
        raise ValueError(str(error).removeprefix("outputs: ")) from error


def _end(said: object, info: ValidationInfo) -> float:
    if not isinstance(said, str):
        raise ValueError(f"expected an ISO 8601 date or a time from now on, such as 30d, as text, got {said!r}")  # noqa: TRY004 - pydantic takes no other
    return parse_end(said, (info.context or {}).get("now", time.time()))


_Text = Annotated[str, Field(max_length=200, json_schema_extra=_PLAIN_TEXT), AfterValidator(_plain)]
_Name = Annotated[str, Field(min_length=1, max_length=200, json_schema_extra=_PLAIN_TEXT), AfterValidator(_plain)]
_Outputs = Annotated[
    OutputPolicy,
    PlainValidator(_policy),
    WithJsonSchema({"type": "string", "maxLength": _MAX_POLICY, "examples": [EXAMPLE]}),
]
_End = Annotated[
    float,
    PlainValidator(_end),
    WithJsonSchema({"type": "string", "examples": ["2099-12-31", "2099-12-31T12:00:00Z", "30d", "12h", "90m"]}),
]
_Rate = Annotated[int, Field(ge=1, le=MAX_PER_MINUTE)]


class Form(BaseModel):
    """Fields that were given, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TermsForm(Form):
    """Terms of a key; a limit that is null does not apply."""

    holder: _Text = ""
    outputs: Annotated[_Outputs, Field(json_schema_extra={"default": "logits"})] = LOGITS_ALONE
    expires_at: _End | None = None
    requests_per_minute: _Rate | None = None
    samples_per_minute: _Rate | None = None
    max_concurrent: Annotated[int, Field(ge=1, le=_MAX_CONCURRENT)] | None = None

    @property
    def named(self) -> NamedTerms:
        """The terms that were given."""
        given = self.model_fields_set & vars(KeyTerms()).keys()
        return cast(NamedTerms, {name: getattr(self, name) for name in given})


class NewKeyForm(TermsForm):
    """A key that is to be made; terms that are not given are those of a plain key."""

    name: _Name
    quota: Annotated[int, Field(ge=0, le=MAX_QUOTA)]
    """In samples, for its lifetime."""


def _without_defaults(schema: dict[str, Any]) -> None:
    schema["minProperties"] = 1
    for field in schema["properties"].values():
        field.pop("default", None)


class ChangedTermsForm(TermsForm):
    """Other terms for a key: those that are given change, and null takes a limit away."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    @model_validator(mode="after")
    def _changes_something(self) -> "ChangedTermsForm":
        if not self.model_fields_set:
            raise ValueError(f"expected at least one of {', '.join(vars(KeyTerms()))}, got none")
        return self


class GrantForm(Form):
    """Samples that are to be added to a key's quota."""

    samples: Annotated[int, Field(ge=1, le=MAX_QUOTA)]
    reason: _Name = "granted"
    """What for; kept in the key's history."""


class ReferredGrantForm(GrantForm):
    """The same from the command line, which has no Idempotency-Key."""

    reference: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_printable)] | None = None


AnyForm = TypeVar("AnyForm", bound=Form)


def filled(form: type[AnyForm], given: bytes | Mapping[str, Any], now: float) -> AnyForm:
    """A form from JSON or from values.

    Raises:
        InvalidRequest: the message names the field, what was expected and what came.
    """
    try:
        if isinstance(given, bytes):
            return form.model_validate_json(given, context={"now": now})
        return form.model_validate(given, context={"now": now})
    except ValidationError as error:
        raise InvalidRequest(complaint(error.errors(include_url=False)[0])) from error
