"""The format of TensorBoard's event files: records of TensorFlow that hold protocol buffers.

    record        length (uint64), its checksum, data, its checksum: all little-endian
    checksum      CRC-32C of the bytes, rotated and shifted, as TFRecord files have it
    data          an `Event`: see tensorboard/compat/proto/event.proto, summary.proto

Only what a log of numbers needs is here: three kinds of event. The format has been the same since 2015.
"""

import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

_VERSION: Final = b"brain.Event:2"
_POLYNOMIAL: Final = 0x82F63B78
"""Of CRC-32C (Castagnoli), bits reversed."""
_MASK: Final = 0xA282EAD8
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
"""The wire types of protocol buffers."""


def first_event(time: float) -> bytes:
    """The event that a file begins with: the version of its format."""
    return _event(time, _bytes(3, _VERSION))


def start_event(time: float, step: int) -> bytes:
    """The event that the steps of a process begin with: readers drop this step and later ones of the files before.

    Some readers take the first such event of a run for its beginning, so each file needs one.
    """
    start = _field(1, _VARINT) + _varint(1)
    return _event(time, _step(step) + _bytes(7, start))


def scalars_event(time: float, step: int, values: Mapping[str, float]) -> bytes:
    """The event of numbers at a step, by their names. They become float32."""
    summary = b"".join(
        _bytes(1, _bytes(1, name.encode()) + _field(2, _FLOAT) + struct.pack("<f", value))
        for name, value in values.items()
    )
    return _event(time, _step(step) + _bytes(5, summary))


def append_event(path: Path, event: bytes) -> None:
    """Append an event to a file, in one write. Raises `OSError`."""
    length = struct.pack("<Q", len(event))
    with path.open("ab", buffering=0) as file:
        file.write(length + _checksum(length) + event + _checksum(event))


def _event(time: float, fields: bytes) -> bytes:
    return _field(1, _DOUBLE) + struct.pack("<d", time) + fields


def _step(step: int) -> bytes:
    return _field(2, _VARINT) + _varint(step)


def _bytes(number: int, content: bytes) -> bytes:
    return _field(number, _BYTES) + _varint(len(content)) + content


def _field(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    """A number of at least 0, seven bits a byte."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _checksum(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _table()[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


@cache
def _table() -> tuple[int, ...]:
    table = []
    for entry in range(256):
        for _ in range(8):
            entry = entry >> 1 ^ (_POLYNOMIAL if entry & 1 else 0)
        table.append(entry)
    return tuple(table)
