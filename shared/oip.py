"""Open Inference Protocol v2 over REST: request and response bodies, and the binary-tensor extension.

A body is a JSON head, followed (when a tensor travels in binary) by the raw little-endian tensors in the order of the
head. The `Inference-Header-Content-Length` header says where the head ends.

Invariant: decoding what was encoded gives the same names, dtypes, shapes and bits; anything else raises
`ProtocolError`, whose message names the field, what was expected and what came.

Source: KServe, "Open Inference Protocol"; Triton Inference Server, "Binary tensor data extension".
"""

import json
import reprlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Annotated, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, FailFast, Field, StrictInt, ValidationError

from shared import oip_bytes

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
BINARY_EXTENSION: Final = "binary_tensor_data"
FINGERPRINT_EXTENSION: Final = "model_version_is_fingerprint"
"""In `GET /v2`: `model_version` identifies weights and preprocessing, so equal versions give equal outputs anywhere."""

IDEMPOTENCY_EXTENSION: Final = "idempotency_key"
"""In `GET /v2`: a request that is repeated under its `Idempotency-Key` is charged once and given the same answer."""

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
BYTES: Final = "BYTES"
"""Elements of any length, in an array of Python `bytes` (see `oip_bytes`)."""
_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}

MAX_DIMENSIONS: Final = 64
"""Of one tensor, as numpy has it."""
MAX_TENSORS: Final = 256
"""Of one body, and parameters of one of its parts."""
MAX_NESTED: Final = 2**16
"""Lists and objects of a request's head: a row of each channel of 256 images, and more."""
_SIZES: Final = range(2**63)
_PLAIN: Final = (str, int, float, type(None))

Array = NDArray[Any]
_Head = TypeVar("_Head", bound=BaseModel)


class ProtocolError(ValueError):
    """A body that does not follow the protocol."""


class HeadTooLong(ProtocolError):
    """More JSON than is read."""


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    if len(parameters) > MAX_TENSORS:
        raise ValueError(f"expected at most {MAX_TENSORS} parameters, got {len(parameters)}")
    for name, value in parameters.items():
        if not isinstance(value, _PLAIN) or (isinstance(value, float) and not isfinite(value)):
            raise ValueError(f"expected texts, finite numbers, true and false, and {_short(name)} is none of them")
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


@dataclass(frozen=True)
class Body:
    """An encoded body. `header_length` is the length of the JSON head in bytes, or None when the body is JSON alone."""

    content: bytes
    header_length: int | None

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that describe this body."""
        if self.header_length is None:
            return {"Content-Type": "application/json"}
        return {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(self.header_length)}


def encode_request(inputs: Mapping[str, Array], *, outputs: Sequence[str], request_id: str | None = None) -> Body:
    """An inference request whose inputs travel in binary and whose outputs are asked for in binary."""
    heads, chunks = _encode_tensors(inputs, binary=inputs.keys())
    head: dict[str, Any] = {"id": request_id} if request_id is not None else {}
    head["inputs"] = heads
    head["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return _encode(head, chunks)


def encode_response(
    outputs: Mapping[str, Array],
    *,
    binary: Collection[str],
    model_name: str,
    model_version: str,
    request_id: str | None = None,
) -> Body:
    """An inference response; the outputs named in `binary` follow the head as raw bytes, the others are JSON."""
    heads, chunks = _encode_tensors(outputs, binary=binary)
    head: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if request_id is not None:
        head["id"] = request_id
    head["outputs"] = heads
    return _encode(head, chunks)


def head_length(size: int, header_length: str | None) -> int:
    """How many of a body's `size` bytes are its JSON head, as the header says; all of them where there is none."""
    if header_length is None:
        return size
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= 19):
        raise ProtocolError(f"{HEADER_LENGTH}: expected a number of bytes, got {header_length[:40]!r}")
    length = int(header_length)
    if length > size:
        raise ProtocolError(
            f"{HEADER_LENGTH}: expected at most the body's {size} bytes, got {length}; was the body cut short?"
        )
    return length


def decode_request(
    content: bytes, header_length: str | None, *, max_head_bytes: int = 2**63
) -> tuple[RequestHead, dict[str, Array]]:
    """A request's head and its input tensors by name.

    Args:
        content: the whole body.
        header_length: the `Inference-Header-Content-Length` header as it came, or None.
        max_head_bytes: how much JSON is parsed at most; each byte may become a hundred in memory.

    Raises:
        ProtocolError: it is no such body; HeadTooLong when it has more JSON than that.
    """
    length = head_length(len(content), header_length)
    if length > max_head_bytes:
        raise HeadTooLong(
            f"body: expected at most {max_head_bytes} bytes of JSON, got {length}; send tensors in binary"
        )
    raw_head = content[:length]
    if raw_head.count(b"[") + raw_head.count(b"{") > MAX_NESTED:
        raise HeadTooLong(f"body: expected at most {MAX_NESTED} lists and objects in JSON, got more; send flat data")
    head, payload = _parse(RequestHead, raw_head), memoryview(content)[length:]
    return head, _decode_tensors("inputs", head.inputs, payload)


def decode_response(content: bytes, header_length: str | None) -> tuple[ResponseHead, dict[str, Array]]:
    """A response's head and its output tensors by name; the arguments are those of `decode_request`."""
    length = head_length(len(content), header_length)
    head, payload = _parse(ResponseHead, content[:length]), memoryview(content)[length:]
    return head, _decode_tensors("outputs", head.outputs, payload)


def _encode(head: Mapping[str, Any], chunks: Sequence[bytes]) -> Body:
    raw_head = json.dumps(head, separators=(",", ":"), allow_nan=False).encode("utf-8")
    if not chunks:
        return Body(raw_head, None)
    return Body(b"".join([raw_head, *chunks]), len(raw_head))


def _encode_tensors(arrays: Mapping[str, Array], binary: Collection[str]) -> tuple[list[dict[str, Any]], list[bytes]]:
    heads: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _NAMES:
            raise ProtocolError(f"{name}: dtype {array.dtype} has no name in the protocol; known: {', '.join(DTYPES)}")
        head: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": _NAMES[dtype]}
        if name in binary:
            chunk = np.ascontiguousarray(array, dtype=dtype).tobytes()
            head["parameters"] = {"binary_data_size": len(chunk)}
            chunks.append(chunk)
        else:
            head["data"] = array.ravel().tolist()
        heads.append(head)
    return heads, chunks


def _parse(model: type[_Head], raw_head: bytes) -> _Head:
    try:
        return model.model_validate_json(raw_head)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise ProtocolError(
            f"{where}: {first['msg'].removeprefix('Value error, ')}, got {_short(first['input'])}"
        ) from error


def _decode_tensors(field: str, heads: Sequence[TensorHead], payload: memoryview) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    offset = 0
    for index, head in enumerate(heads):
        where = f"{field}[{index}] ({_short(head.name)})"
        if head.name in arrays:
            raise ProtocolError(f"{where}: this name comes twice")
        dtype = DTYPES.get(head.datatype)
        if dtype is None and head.datatype != BYTES:
            known = ", ".join([*DTYPES, BYTES])
            raise ProtocolError(f"{where}.datatype: expected one of {known}, got {_short(head.datatype)}")
        if any(size not in _SIZES for size in head.shape):
            raise ProtocolError(f"{where}.shape: expected sizes of 0 or more, below 2**63, got {_short(head.shape)}")
        size = head.parameters.get("binary_data_size")
        if dtype is None:
            arrays[head.name] = _elements(where, head, size, payload[offset:])
        elif size is None:
            arrays[head.name] = _from_json(where, head, dtype)
        else:
            arrays[head.name] = _from_bytes(where, head, dtype, size, payload[offset:])
        offset += 0 if size is None else int(size)
    if offset != len(payload):
        raise ProtocolError(f"{field}: the tensors take {offset} binary bytes, but {len(payload)} came")
    return arrays


def _from_bytes(where: str, head: TensorHead, dtype: np.dtype[Any], size: object, payload: memoryview) -> Array:
    expected = prod(head.shape) * dtype.itemsize
    if isinstance(size, bool) or not isinstance(size, int) or size != expected:
        raise ProtocolError(
            f"{where}.parameters.binary_data_size: expected {expected} for {head.datatype} {_short(head.shape)}, "
            f"got {_short(size)}"
        )
    if head.data is not None:
        raise ProtocolError(f"{where}: expected either data or binary_data_size, got both")
    if len(payload) < size:
        raise ProtocolError(f"{where}: expected {size} binary bytes, got {len(payload)}; was the body cut short?")
    return _shaped(where, head, np.frombuffer(payload[:size], dtype=dtype))


def _elements(where: str, head: TensorHead, size: object, payload: memoryview) -> Array:
    count, came = prod(head.shape), len(payload)
    if (size is None) == (head.data is None):
        raise ProtocolError(f"{where}: expected either data or binary_data_size, got {'both' if size else 'neither'}")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= came):
        raise ProtocolError(
            f"{where}.parameters.binary_data_size: expected 0 to the {came} bytes that came, got {_short(size)}"
        )
    try:
        elements = (
            oip_bytes.from_json(head.data) if head.data is not None else oip_bytes.from_binary(payload[:size], count)
        )
    except ValueError as error:
        raise ProtocolError(f"{where}: expected {BYTES} elements, but {error}") from error
    if len(elements) != count:
        raise ProtocolError(
            f"{where}.data: expected {count} values for shape {_short(head.shape)}, got {len(elements)}"
        )
    return _shaped(where, head, oip_bytes.as_array(elements))


def _from_json(where: str, head: TensorHead, dtype: np.dtype[Any]) -> Array:
    if head.data is None:
        raise ProtocolError(f"{where}: expected data, or parameters.binary_data_size and a binary body; got neither")
    kinds = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}[dtype.kind]
    try:
        values = _numbers(head.data)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(f"{where}.data: expected rows of equal length, got a ragged list") from error
    if values.size and values.dtype.kind not in kinds:
        raise ProtocolError(f"{where}.data: expected {head.datatype} numbers, got other values")
    if values.size and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise ProtocolError(
                f"{where}.data: expected {head.datatype} values from {limits.min} to {limits.max}, "
                f"got {values.min()} to {values.max()}"
            )
    if values.size != prod(head.shape):
        raise ProtocolError(
            f"{where}.data: expected {prod(head.shape)} values for shape {_short(head.shape)}, got {values.size}"
        )
    with np.errstate(over="ignore"):
        typed = values.astype(dtype)
    if dtype.kind == "f" and np.isinf(typed).any():
        raise ProtocolError(f"{where}.data: expected {head.datatype} values, got larger ones")
    return _shaped(where, head, typed)


def _numbers(data: list[Any]) -> Array:
    exact = np.array(data, dtype=object)
    types = set(map(type, exact.flat))
    if list in types:
        raise ValueError("ragged")
    if not types <= {bool, int, float} or (bool in types and len(types) > 1):
        return exact  # numpy would count true as 1, and give every text the width of the longest
    values = np.array(data)
    if values.dtype.kind in "fO" and types == {int} and all(0 <= value < 2**64 for value in exact.flat):
        return exact.astype(np.uint64)  # integers on both sides of 2**63 would become floating point and lose digits
    return values


def _shaped(where: str, head: TensorHead, values: Array) -> Array:
    try:
        return values.reshape(head.shape)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(
            f"{where}.shape: expected sizes that an array can have, got {_short(head.shape)}"
        ) from error


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise ProtocolError(f"parameters.{name}: expected true or false, got {_short(value)}")
    return value


_SHORT: Final = reprlib.Repr()  # which, unlike repr, looks at no more than it shows
_SHORT.maxlist = _SHORT.maxtuple = 16
_SHORT.maxlong = _SHORT.maxstring = _SHORT.maxother = 60


def _short(value: object) -> str:
    text = repr(value[:60]) if isinstance(value, bytes) else _SHORT.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
