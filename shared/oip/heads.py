"""The JSON heads of requests and responses, validated before anything is computed from them."""

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, FailFast, Field, StrictInt, ValidationError

from shared.expectations import expectation, shown

MAX_DIMENSIONS: Final = 64
"""The most dimensions of one tensor: as many as numpy supports."""
MAX_TENSORS: Final = 256
"""The most tensors of one body, and the most parameters of one of its parts."""
MAX_NESTED: Final = 2**16
"""The most lists and objects in a request's head: enough for each row of 256 images as JSON."""
_PLAIN: Final = (str, int, float, type(None))
_Head = TypeVar("_Head", bound=BaseModel)


class ProtocolError(ValueError):
    """A body that does not follow the protocol."""


class HeadTooLong(ProtocolError):
    """The JSON head is longer than the limit."""


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    if len(parameters) > MAX_TENSORS:
        raise ValueError(f"expected at most {MAX_TENSORS} parameters, got {len(parameters)}")
    for name, value in parameters.items():
        if not isinstance(value, _PLAIN) or (isinstance(value, float) and not isfinite(value)):
            raise ValueError(f"expected texts, finite numbers, true and false, and {shown(name)} is none of them")
    return parameters


_Parameters = Annotated[dict[str, Any], AfterValidator(_plain)]
# Each list ends at its first fault: a report of a million faults takes gigabytes.
_Shape = Annotated[list[StrictInt], FailFast(), Field(max_length=MAX_DIMENSIONS)]
_Name = Annotated[str, Field(max_length=1024)]


class TensorHead(BaseModel):
    """One tensor of a request or a response, as its JSON head describes it."""

    name: _Name
    shape: _Shape
    datatype: str
    parameters: _Parameters = Field(default_factory=dict)
    data: list[Any] | None = None


class RequestedOutput(BaseModel):
    """One output that a request asks for."""

    name: _Name
    parameters: _Parameters = Field(default_factory=dict)


class RequestHead(BaseModel):
    """The JSON head of an inference request."""

    id: str | None = None
    parameters: _Parameters = Field(default_factory=dict)
    inputs: Annotated[list[TensorHead], FailFast(), Field(max_length=MAX_TENSORS)]
    outputs: Annotated[list[RequestedOutput], FailFast(), Field(max_length=MAX_TENSORS)] = Field(default_factory=list)

    def wants_binary(self, output: str) -> bool:
        """Whether `output` travels in binary: its own `binary_data` wins over the request's `binary_data_output`."""
        default = _flag(self.parameters, "binary_data_output", False)
        for requested in self.outputs:
            if requested.name == output:
                return _flag(requested.parameters, "binary_data", default)
        return default


class ResponseHead(BaseModel):
    """The JSON head of an inference response."""

    model_name: str
    model_version: str | None = None
    id: str | None = None
    parameters: _Parameters = Field(default_factory=dict)
    outputs: Annotated[list[TensorHead], FailFast(), Field(max_length=MAX_TENSORS)]


def parse_head(model: type[_Head], raw_head: bytes) -> _Head:
    """The head, as this model.

    Raises:
        ProtocolError: it is not one; the message names the first field that is wrong.
    """
    try:
        return model.model_validate_json(raw_head)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise ProtocolError(f"{where}: {expectation(first, table='an object')}") from error


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise ProtocolError(f"parameters.{name}: expected true or false, got {shown(value)}")
    return value
