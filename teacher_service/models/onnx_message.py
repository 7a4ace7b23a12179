"""The outermost fields of an ONNX model, to recognise one and to write a card into it, without the package `onnx`.

A model is a protobuf message: a sequence of fields, each with a number and a wire type. The graph is one field of it.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from shared.weights import CARD

_VARINT: Final = 0
_BYTES: Final = 2
_GRAPH: Final = 7
_METADATA: Final = 14
_FIELDS: Final = {
    1: _VARINT,  # ir_version
    2: _BYTES,  # producer_name
    3: _BYTES,  # producer_version
    4: _BYTES,  # domain
    5: _VARINT,  # model_version
    6: _BYTES,  # doc_string
    _GRAPH: _BYTES,
    8: _BYTES,  # opset_import
    _METADATA: _BYTES,  # metadata_props: key and value
    20: _BYTES,  # training_info
    25: _BYTES,  # functions
    26: _BYTES,  # configuration
}
"""The wire type of each field of ModelProto. Source: onnx/onnx.proto, version 1.18."""


class _Field(NamedTuple):
    number: int
    start: int
    content: slice
    """Of the value of a field of bytes; of a number, empty."""
    end: int


def is_onnx(content: memoryview) -> bool:
    """Whether these bytes are the fields of ONNX's ModelProto, among them a graph, from the first to the last."""
    try:
        return _GRAPH in {field.number for field in _fields(content)}
    except ValueError:
        return False


def with_card(content: bytes, card: str) -> bytes:
    """The model with this card among its metadata properties, in place of any other.

    Raises:
        ValueError: the content is no ONNX model.
    """
    view = memoryview(content)
    kept = [view[field.start : field.end] for field in _fields(view) if not _is_card(view, field)]
    entry = _encoded(1, CARD.encode()) + _encoded(2, card.encode())
    return b"".join([*kept, _encoded(_METADATA, entry)])


def _is_card(content: memoryview, field: _Field) -> bool:
    key = _encoded(1, CARD.encode())
    return field.number == _METADATA and bytes(content[field.content][: len(key)]) == key


def _fields(content: memoryview) -> Iterator[_Field]:
    """The fields in their order. Raises ValueError where the bytes are no fields of a model."""
    place = 0
    while place < len(content):
        tag, after = _number(content, place)
        if _FIELDS.get(tag >> 3) != tag & 7:
            raise ValueError(f"expected a field of an ONNX model at byte {place}, got other bytes")
        value, end = _number(content, after)
        inner = slice(end, end)
        if tag & 7 == _BYTES:
            inner = slice(end, end + value)
            end += value
        if end > len(content):
            raise ValueError(f"expected {end} bytes or more, got {len(content)}")
        yield _Field(tag >> 3, place, inner, end)
        place = end


def _number(content: memoryview, place: int) -> tuple[int, int]:
    """A number of variable length and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            break
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError(f"expected a number at byte {place}, got other bytes")


def _encoded(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
