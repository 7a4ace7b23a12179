"""Tensors of a body: JSON lists, or raw little-endian bytes after the head, to and from numpy arrays."""

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.expectations import shown
from shared.oip import byte_elements
from shared.oip.heads import ProtocolError, TensorHead

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
"""Elements of any length, in an array of Python `bytes` (see `byte_elements`)."""
_NAMES: Final = {dtype: name for name, dtype in DTYPES.items()}
_SIZES: Final = range(2**63)

Array = NDArray[Any]


def encode_tensors(arrays: Mapping[str, Array], binary: Collection[str]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """The heads of these arrays, and the bytes of those named in `binary`, in the order of the heads.

    Raises:
        ProtocolError: the protocol has no name for a dtype.
    """
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


def decode_tensors(
    field: str, heads: Sequence[TensorHead], payload: memoryview, names: Collection[str] | None = None
) -> dict[str, Array]:
    """The arrays that these heads and the binary payload describe, by name; only those with the given names, if any.

    Raises:
        ProtocolError: they contradict each other; `field` is `inputs` or `outputs` in the message.
    """
    arrays: dict[str, Array] = {}
    offset = 0
    for index, head in enumerate(heads):
        where = f"{field}[{index}] ({shown(head.name)})"
        if names is not None and head.name not in names:
            offset += _skipped(head.parameters.get("binary_data_size"))
            continue
        if head.name in arrays:
            raise ProtocolError(f"{where}: this name comes twice")
        dtype = DTYPES.get(head.datatype)
        if dtype is None and head.datatype != BYTES:
            known = ", ".join([*DTYPES, BYTES])
            raise ProtocolError(f"{where}.datatype: expected one of {known}, got {shown(head.datatype)}")
        if any(size not in _SIZES for size in head.shape):
            raise ProtocolError(f"{where}.shape: expected sizes of 0 or more, below 2**63, got {shown(head.shape)}")
        size = head.parameters.get("binary_data_size")
        if dtype is None:
            arrays[head.name] = _elements(where, head, size, payload[offset:])
        elif size is None:
            arrays[head.name] = _from_json(where, head, dtype)
        else:
            arrays[head.name] = _from_bytes(where, head, dtype, size, payload[offset:])
        offset += 0 if size is None else int(size)
    if offset != len(payload):
        raise ProtocolError(f"{field}: the tensors take {offset} binary bytes, but the body has {len(payload)}")
    return arrays


def _skipped(size: object) -> int:
    """The binary bytes of a tensor that is not decoded."""
    return size if isinstance(size, int) and size > 0 else 0


def _from_bytes(where: str, head: TensorHead, dtype: np.dtype[Any], size: object, payload: memoryview) -> Array:
    expected = prod(head.shape) * dtype.itemsize
    if isinstance(size, bool) or not isinstance(size, int) or size != expected:
        raise ProtocolError(
            f"{where}.parameters.binary_data_size: expected {expected} for {head.datatype} {shown(head.shape)}, "
            f"got {shown(size)}"
        )
    if head.data is not None:
        raise ProtocolError(f"{where}: expected either data or binary_data_size, got both")
    if len(payload) < size:
        raise ProtocolError(f"{where}: expected {size} binary bytes, got {len(payload)}; was the body cut short?")
    return _shaped(where, head, np.frombuffer(payload[:size], dtype=dtype))


def _elements(where: str, head: TensorHead, size: object, payload: memoryview) -> Array:
    count, received = prod(head.shape), len(payload)
    if (size is None) == (head.data is None):
        raise ProtocolError(f"{where}: expected either data or binary_data_size, got {'both' if size else 'neither'}")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= received):
        raise ProtocolError(
            f"{where}.parameters.binary_data_size: expected 0 to the {received} bytes received, got {shown(size)}"
        )
    try:
        elements = (
            byte_elements.from_json(head.data)
            if head.data is not None
            else byte_elements.from_binary(payload[:size], count)
        )
    except ValueError as error:
        raise ProtocolError(f"{where}: expected {BYTES} elements, but {error}") from error
    if len(elements) != count:
        raise ProtocolError(f"{where}.data: expected {count} values for shape {shown(head.shape)}, got {len(elements)}")
    return _shaped(where, head, byte_elements.as_array(elements))


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
            f"{where}.data: expected {prod(head.shape)} values for shape {shown(head.shape)}, got {values.size}"
        )
    with np.errstate(over="ignore"):
        typed = values.astype(dtype)
    if dtype.kind == "f" and (infinite := int(np.isinf(typed).sum())):
        raise ProtocolError(
            f"{where}.data: expected {head.datatype} values that are finite, got {infinite} of {typed.size} that are "
            "infinite, or too large"
        )
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
        raise ProtocolError(f"{where}.shape: expected sizes that an array can have, got {shown(head.shape)}") from error
