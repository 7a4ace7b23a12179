"""Tensors of datatype BYTES: elements of any length, such as encoded images.

In binary each element is its length (4 bytes, little-endian) and its bytes; in JSON it is a base64 text.

Source: Triton Inference Server, "Binary tensor data extension" (BYTES); JSON has no bytes, so the text form is ours.
"""

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LENGTH = 4


def from_binary(payload: memoryview, count: int) -> list[bytes]:
    """Exactly `count` elements that take the whole payload.

    Raises:
        ValueError: a length reaches beyond the payload, or bytes are left.
    """
    if count * _LENGTH > len(payload):
        raise ValueError(f"{count} elements need {count * _LENGTH} bytes or more, got {len(payload)}")
    elements: list[bytes] = []
    offset = 0
    for index in range(count):
        start = offset + _LENGTH
        size = int.from_bytes(payload[offset:start], "little")
        offset = start + size
        if start > len(payload) or offset > len(payload):
            raise ValueError(
                f"element {index} has a length of {size} bytes, but {max(0, len(payload) - start)} are left"
            )
        elements.append(bytes(payload[start:offset]))
    if offset != len(payload):
        raise ValueError(f"the elements take {offset} bytes, got {len(payload)}")
    return elements


def from_json(data: Sequence[object]) -> list[bytes]:
    """The elements of a flat list of base64 texts.

    Raises:
        ValueError: one is not such a text.
    """
    elements = []
    for index, text in enumerate(data):
        if not isinstance(text, str):
            raise ValueError(f"element {index} is {type(text).__name__}, expected base64 text")  # noqa: TRY004 - one error for all of it
        try:
            elements.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"element {index} is not base64 ({error})") from error
    return elements


def as_array(elements: Sequence[bytes]) -> NDArray[np.object_]:
    """A flat array of Python `bytes`."""
    array = np.empty(len(elements), object)
    array[:] = elements
    return array
