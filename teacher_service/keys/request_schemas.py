"""The requests of an operator about keys, from a JSON body or the command line, checked field by field.

A value that passes these schemas fits every database: no text is too long for its column, and none has a character that
one of them rejects.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    create_model,
    model_validator,
)

from shared.times import parse_end
from teacher_service.errors.service_errors import InvalidRequest
from teacher_service.errors.validation import complaint
from teacher_service.policy.key_terms import DEFAULT_TERMS, TERMS, Term, TermChanges
from teacher_service.policy.output_policy import EXAMPLE, OutputPolicy
from teacher_service.policy.quota import MAX_QUOTA

_MAX_POLICY: Final = 500
_PLAIN_TEXT: Final = {"pattern": "^[^\\u0000-\\u001f\\u007f]*$"}


def _plain(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError(f"expected text without control characters, got {text[:60]!r}")
    return text


def _printable(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"expected printable ASCII characters, got {text[:60]!r}")
    return text


def _policy(value: object) -> OutputPolicy:
    if not isinstance(value, str) or len(value) > _MAX_POLICY or not value.isprintable():
        raise ValueError(
            f"expected at most {_MAX_POLICY} printable characters, such as {EXAMPLE}, got {str(value)[:60]!r}"
        )
    try:
        return OutputPolicy.parse(value)
    except ValueError as error:
        raise ValueError(str(error).removeprefix("outputs: ")) from error


def _end(value: object, info: ValidationInfo) -> float:
    if not isinstance(value, str):
        raise ValueError(f"expected an ISO 8601 date or a time from now on, such as 30d, as text, got {value!r}")  # noqa: TRY004 - pydantic takes no other
    return parse_end(value, (info.context or {}).get("now", time.time()))


_Text = Annotated[str, Field(max_length=200, json_schema_extra=_PLAIN_TEXT), AfterValidator(_plain)]
_Name = Annotated[str, Field(min_length=1, max_length=200, json_schema_extra=_PLAIN_TEXT), AfterValidator(_plain)]
_Outputs = Annotated[
    OutputPolicy,
    PlainValidator(_policy),
    WithJsonSchema({"type": "string", "maxLength": _MAX_POLICY, "examples": [EXAMPLE]}),
    Field(json_schema_extra={"default": str(DEFAULT_TERMS.outputs)}),
]
_End = Annotated[
    float,
    PlainValidator(_end),
    WithJsonSchema({"type": "string", "examples": ["2099-12-31", "2099-12-31T12:00:00Z", "30d", "12h", "90m"]}),
]


class RequestSchema(BaseModel):
    """The fields of a request, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _type_of(term: Term) -> Any:
    match term.kind:
        case "text":
            return _Text
        case "outputs":
            return _Outputs
        case "time":
            return _End | None
        case "limit":
            return Annotated[int, Field(ge=1, le=term.most)] | None


if TYPE_CHECKING:
    _TermFields = RequestSchema
else:
    _TermFields = create_model(
        "_TermFields",
        __base__=RequestSchema,
        **{name: (_type_of(term), getattr(DEFAULT_TERMS, name)) for name, term in TERMS.items()},
    )


class TermsRequest(_TermFields):
    """Terms of a key; a limit that is null does not apply."""

    @property
    def given_terms(self) -> TermChanges:
        """The terms that the request has."""
        return {name: getattr(self, name) for name in self.model_fields_set & TERMS.keys()}


class CreateKeyRequest(TermsRequest):
    """A new key. Each term that is left out has its default."""

    name: _Name
    quota: Annotated[int, Field(ge=0, le=MAX_QUOTA)]
    """In samples, for the lifetime of the key."""


def _without_defaults(schema: dict[str, Any]) -> None:
    schema["minProperties"] = 1
    for field in schema["properties"].values():
        field.pop("default", None)


class ChangeTermsRequest(TermsRequest):
    """Other terms for a key: the terms that are given change, and null removes a limit."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    @model_validator(mode="after")
    def _changes_something(self) -> "ChangeTermsRequest":
        if not self.model_fields_set:
            raise ValueError(f"expected at least one of {', '.join(TERMS)}, got none")
        return self


class GrantRequest(RequestSchema):
    """Samples that are to be added to a key's quota."""

    samples: Annotated[int, Field(ge=1, le=MAX_QUOTA)]
    reason: _Name = "granted"
    """What the grant is for; kept in the key's history."""


class GrantWithReferenceRequest(GrantRequest):
    """A grant from the command line, where `reference` takes the place of the Idempotency-Key."""

    reference: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_printable)] | None = None


AnyRequest = TypeVar("AnyRequest", bound=RequestSchema)


def parse_request(schema: type[AnyRequest], fields: bytes | Mapping[str, Any], now: float) -> AnyRequest:
    """A request from JSON, or from its fields by name.

    Raises:
        InvalidRequest: the message names the field, what was expected and what came.
    """
    try:
        if isinstance(fields, bytes):
            return schema.model_validate_json(fields, context={"now": now})
        return schema.model_validate(fields, context={"now": now})
    except ValidationError as error:
        raise InvalidRequest(complaint(error.errors(include_url=False)[0])) from error
