"""BYTES tensors: what was encoded comes back, and wrong lengths are rejected."""

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import oip
from shared.oip import byte_elements
from tests.shared.oip.byte_payload import byte_payload

_ELEMENTS = st.lists(st.binary(max_size=40), max_size=6)


@given(_ELEMENTS)
def test_both_forms_give_the_elements_back(elements: list[bytes]) -> None:
    assert byte_elements.from_binary(memoryview(byte_payload(elements)), len(elements)) == elements
    assert byte_elements.from_json([base64.b64encode(element).decode() for element in elements]) == elements
    assert list(byte_elements.as_array(elements)) == elements


@given(_ELEMENTS, st.integers(0, 2**70), st.binary(max_size=3))
def test_any_other_count_or_length_is_refused(elements: list[bytes], count: int, extra: bytes) -> None:
    payload = byte_payload(elements) + extra
    if count == len(elements) and not extra:
        return
    try:
        found = byte_elements.from_binary(memoryview(payload), count)
    except ValueError:
        return
    assert byte_payload(found) == payload, "another reading of the same bytes, and all of them"


@pytest.mark.parametrize("size", [6, 2**31, 2**32 - 1])
def test_length_beyond_the_payload_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"element 0 has a length of {size} bytes, but 5 are left"):
        byte_elements.from_binary(memoryview(struct.pack("<I", size) + b"12345"), 1)


@pytest.mark.parametrize("text", ["***", "YQ", "YQ==\n", "é", 5, None, ["YQ=="]])
def test_other_than_base64_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="element 1"):
        byte_elements.from_json(["YQ==", text])


@pytest.mark.parametrize(
    ("tensor", "payload", "reason"),
    [
        ({"shape": [1]}, b"", "expected either data or binary_data_size, got neither"),
        ({"shape": [1], "data": ["YQ=="], "parameters": {"binary_data_size": 5}}, b"12345", "got both"),
        ({"shape": [1], "parameters": {"binary_data_size": 6}}, b"12345", "expected 0 to the 5 bytes received, got 6"),
        ({"shape": [1], "parameters": {"binary_data_size": True}}, b"1", "got true"),
        ({"shape": [2], "data": ["YQ=="]}, b"", r"expected 2 values for shape \[2\], got 1"),
        ({"shape": [2**62, 2**62], "parameters": {"binary_data_size": 4}}, bytes(4), "elements need"),
    ],
)
def test_tensor_that_does_not_hold_together_is_refused(tensor: dict[str, object], payload: bytes, reason: str) -> None:
    head = json.dumps({"inputs": [{"name": "images", "datatype": "BYTES", **tensor}]}).encode()
    with pytest.raises(oip.ProtocolError, match=reason):
        oip.decode_request(head + payload, str(len(head)))
