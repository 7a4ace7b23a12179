"""The codec: what was encoded comes back bit for bit, and anything else is refused by name."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from shared import oip

Array = NDArray[Any]

_SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
_NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name.isprintable())
_BINARY = st.sampled_from(sorted(oip.DTYPES)).flatmap(lambda name: hnp.arrays(oip.DTYPES[name], _SHAPES))
_FINITE = st.sampled_from(sorted(oip.DTYPES)).flatmap(
    lambda name: hnp.arrays(
        oip.DTYPES[name],
        _SHAPES,
        elements={"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else None,
    )
)


def _assert_same(decoded: dict[str, Array], expected: dict[str, Array]) -> None:
    assert list(decoded) == list(expected)
    for name, array in expected.items():
        assert (decoded[name].dtype, decoded[name].shape) == (array.dtype, array.shape)
        assert decoded[name].tobytes() == array.tobytes()


@given(st.dictionaries(_NAMES, _BINARY, max_size=4), st.lists(_NAMES, max_size=3), st.none() | st.text(max_size=9))
def test_request_round_trip_keeps_every_bit(
    tensors: dict[str, Array], outputs: list[str], request_id: str | None
) -> None:
    """All dtypes, empty and scalar shapes, NaN payloads included."""
    body = oip.encode_request(tensors, outputs=outputs, request_id=request_id)
    head, decoded = oip.decode_request(body.content, body.headers.get(oip.HEADER_LENGTH))
    _assert_same(decoded, tensors)
    assert head.id == request_id
    assert [output.name for output in head.outputs] == outputs
    assert all(head.wants_binary(name) for name in outputs)


@given(
    binary=st.dictionaries(_NAMES.map("b:{}".format), _BINARY, max_size=3),
    as_json=st.dictionaries(_NAMES.map("j:{}".format), _FINITE, max_size=3),
    request_id=st.none() | st.text(max_size=9),
    data=st.data(),
)
@example({}, {"j:limits": np.array([1, 2**64 - 1], "<u8")}, None, None)
@example({}, {"j:limits": np.array([-(2**63), 2**63 - 1], "<i8")}, None, None)
@example({}, {"j:limits": np.array([-0.0, 5e-324, 1.7976931348623157e308], "<f8")}, None, None)
def test_response_round_trip_keeps_every_bit_in_json_and_binary_mixed(
    binary: dict[str, Array], as_json: dict[str, Array], request_id: str | None, data: st.DataObject | None
) -> None:
    names = [*binary, *as_json]
    order = names if data is None else data.draw(st.permutations(names))
    tensors = {name: (binary | as_json)[name] for name in order}
    body = oip.encode_response(tensors, binary=set(binary), model_name="m", model_version="v", request_id=request_id)
    head, decoded = oip.decode_response(body.content, body.headers.get(oip.HEADER_LENGTH))
    _assert_same(decoded, tensors)
    assert (head.model_name, head.model_version, head.id) == ("m", "v", request_id)
    assert (body.header_length is None) == (not binary)


def test_request_is_laid_out_as_the_protocol_says() -> None:
    """By hand: the JSON head, then little-endian tensors in the order of the head."""
    first = np.array([[1, -2]], ">i2")
    body = oip.encode_request({"a": first, "b": np.array(0.5, "<f4")}, outputs=["logits"], request_id="r1")
    head = {
        "id": "r1",
        "inputs": [
            {"name": "a", "shape": [1, 2], "datatype": "INT16", "parameters": {"binary_data_size": 4}},
            {"name": "b", "shape": [], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
        ],
        "outputs": [{"name": "logits", "parameters": {"binary_data": True}}],
    }
    assert body.header_length is not None
    assert json.loads(body.content[: body.header_length]) == head
    assert body.content[body.header_length :] == struct.pack("<2hf", 1, -2, 0.5)
    assert body.headers == {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(body.header_length),
    }


def test_response_without_binary_is_plain_json() -> None:
    tensor = np.array([[1.5, -2.0]], np.float32)
    body = oip.encode_response({"logits": tensor}, binary=(), model_name="m", model_version="v")
    assert json.loads(body.content) == {
        "model_name": "m",
        "model_version": "v",
        "outputs": [{"name": "logits", "shape": [1, 2], "datatype": "FP32", "data": [1.5, -2.0]}],
    }
    assert body.headers == {"Content-Type": "application/json"}


@pytest.mark.parametrize("dtype", ["<c8", "<U3", "O", "<M8[s]"])
def test_encoding_refuses_a_dtype_without_a_name(dtype: str) -> None:
    with pytest.raises(oip.ProtocolError, match="has no name in the protocol"):
        oip.encode_request({"x": np.zeros(1, dtype)}, outputs=[])


@pytest.mark.parametrize(
    ("data", "shape", "datatype", "expected"),
    [
        ([[1, 2], [3, 4]], [2, 2], "UINT8", [[1, 2], [3, 4]]),
        ([1, 2, 3, 4], [2, 2], "UINT8", [[1, 2], [3, 4]]),
        ([True, False], [2], "BOOL", [True, False]),
        ([1, 2.5], [2], "FP32", [1.0, 2.5]),
        ([], [0, 3], "INT64", []),
    ],
)
def test_json_data_may_be_nested_or_flat(data: list[Any], shape: list[int], datatype: str, expected: list[Any]) -> None:
    body = json.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data}]})
    _, tensors = oip.decode_request(body.encode(), None)
    assert tensors["x"].tolist() == expected
    assert tensors["x"].dtype == oip.DTYPES[datatype]


@pytest.mark.parametrize(
    ("parameters", "output_parameters", "binary"),
    [
        ({}, {}, False),
        ({}, {"binary_data": True}, True),
        ({"binary_data_output": True}, {}, True),
        ({"binary_data_output": True}, {"binary_data": False}, False),
        ({"binary_data_output": False}, {"binary_data": True}, True),
        ({"binary_data_output": True}, None, True),
        ({}, None, False),
    ],
)
def test_binary_data_of_an_output_wins_over_the_requests(
    parameters: dict[str, Any], output_parameters: dict[str, Any] | None, binary: bool
) -> None:
    outputs = [] if output_parameters is None else [{"name": "logits", "parameters": output_parameters}]
    head = oip.RequestHead.model_validate({"inputs": [], "parameters": parameters, "outputs": outputs})
    assert head.wants_binary("logits") is binary


@pytest.mark.parametrize("field", ["parameters", "output"])
def test_binary_flag_that_is_no_boolean_is_refused(field: str) -> None:
    bad = {"binary_data_output": 1} if field == "parameters" else {}
    output = {"name": "logits", "parameters": {"binary_data": "yes"} if field == "output" else {}}
    head = oip.RequestHead.model_validate({"inputs": [], "parameters": bad, "outputs": [output]})
    with pytest.raises(oip.ProtocolError, match="expected true or false"):
        head.wants_binary("logits")


def _binary_request(payload: bytes, **changes: Any) -> tuple[bytes, str]:
    tensor = {"name": "x", "shape": [4], "datatype": "UINT8", "parameters": {"binary_data_size": 4}} | changes
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + payload, str(len(head))


@pytest.mark.parametrize(
    ("payload", "changes", "message"),
    [
        (b"abc", {}, "expected 4 binary bytes, got 3; was the body cut short"),
        (b"", {}, "expected 4 binary bytes, got 0"),
        (b"abcde", {}, "the tensors take 4 binary bytes, but the body has 5"),
        (b"abcd", {"datatype": "UINT16"}, "binary_data_size: expected 8 for UINT16"),
        (b"abcd", {"datatype": "BYTES"}, "expected BYTES elements, but 4 elements need 16 bytes or more, got 4"),
        (b"abcd", {"datatype": "uint8"}, "datatype: expected one of BOOL"),
        (b"abcd", {"shape": [5]}, "binary_data_size: expected 5"),
        (b"abcd", {"shape": [-2, -2]}, "shape: expected sizes of 0 or more"),
        (b"abcd", {"shape": [1] * 65 + [4]}, r"shape"),
        (b"", {"shape": [2**70, 0], "parameters": {"binary_data_size": 0}}, r"shape"),
        (b"", {"shape": [2**62, 0, 2**62], "parameters": {"binary_data_size": 0}}, r"shape"),
        (b"abcd", {"parameters": {"binary_data_size": "4"}}, "expected 4 for UINT8"),
        (b"abcd", {"parameters": {"binary_data_size": 4.0}}, "expected 4 for UINT8"),
        (b"a", {"shape": [1], "parameters": {"binary_data_size": True}}, "expected 1 for UINT8"),
        (b"abcd", {"parameters": {"binary_data_size": -4}}, "expected 4 for UINT8"),
        (b"abcd", {"data": [1, 2, 3, 4]}, "either data or binary_data_size, got both"),
        (b"", {"parameters": {}}, "got neither"),
    ],
)
def test_binary_tensor_that_does_not_fit_its_head_is_refused(
    payload: bytes, changes: dict[str, Any], message: str
) -> None:
    content, length = _binary_request(payload, **changes)
    with pytest.raises(oip.ProtocolError, match=message):
        oip.decode_request(content, length)


@pytest.mark.parametrize(
    "length", ["", " ", "-1", "+5", "1e3", "0x10", "1_0", "5.0", "abc", "٣", "9" * 5000, "999999", "0", "3"]
)
def test_lying_header_length_is_refused(length: str) -> None:
    content, _ = _binary_request(b"abcd")
    with pytest.raises(oip.ProtocolError):
        oip.decode_request(content, length)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "message"),
    [
        ("UINT8", [1], [256], "from 0 to 255, got 256 to 256"),
        ("UINT8", [1], [-1], "from 0 to 255"),
        ("INT8", [2], [-129, 0], "from -128 to 127"),
        ("UINT64", [1], [2**64], "expected UINT64"),
        ("UINT8", [1], [1.0], "expected UINT8 numbers"),
        ("UINT8", [1], ["1"], "expected UINT8 numbers"),
        ("UINT8", [1], [True], "expected UINT8 numbers"),
        ("UINT8", [2], [True, 2], "expected UINT8 numbers"),
        ("FP32", [2, 1], [[0.5], [False]], "expected FP32 numbers"),
        ("UINT8", [1], [None], "expected UINT8 numbers"),
        ("BOOL", [1], [1], "expected BOOL numbers"),
        ("FP32", [1], [{}], "expected FP32 numbers"),
        ("FP16", [1], [1e6], "expected FP16"),
        ("FP32", [1], [1e300], "expected FP32"),
        ("UINT8", [2], [1], "expected 2 values"),
        ("UINT8", [0], [1], "expected 0 values"),
        ("UINT8", [3], [[1], [2, 3]], "ragged"),
        ("UINT8", [1] * 65, [7], "shape"),
    ],
)
def test_json_data_that_does_not_fit_its_head_is_refused(
    datatype: str, shape: list[int], data: list[Any], message: str
) -> None:
    body = json.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data}]})
    with pytest.raises(oip.ProtocolError, match=message):
        oip.decode_request(body.encode(), None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "body: "),
        (b"\xff\xfe", "body: "),
        (b"[]", "body: "),
        (b"null", "body: "),
        (b"{}", "inputs: "),
        (b'{"inputs": 3}', "inputs: "),
        (b'{"inputs": [{"name": "x", "shape": [1]}]}', r"inputs\.0\.datatype: "),
        (b'{"inputs": [{"name": 1, "shape": [1], "datatype": "UINT8", "data": [1]}]}', r"inputs\.0\.name: "),
        (b'{"inputs": [], "id": 7}', "id: "),
        (b"[" * 100_000, "body: "),
    ],
)
def test_head_of_another_form_is_refused_by_field(content: bytes, message: str) -> None:
    with pytest.raises(oip.ProtocolError, match=message):
        oip.decode_request(content, None)


def test_tensor_that_comes_twice_is_refused() -> None:
    tensor = {"name": "x", "shape": [1], "datatype": "UINT8", "data": [1]}
    with pytest.raises(oip.ProtocolError, match="this name comes twice"):
        oip.decode_request(json.dumps({"inputs": [tensor, tensor]}).encode(), None)


@given(st.binary(max_size=200), st.none() | st.text(max_size=5))
@example(b'{"inputs":[]}', "13")
def test_arbitrary_bytes_are_refused_or_decoded_never_worse(content: bytes, header_length: str | None) -> None:
    """Whatever comes, the only exception is ProtocolError."""
    for decode in (oip.decode_request, oip.decode_response):
        try:
            decode(content, header_length)
        except oip.ProtocolError as refusal:
            assert str(refusal)  # noqa: PT017 - either outcome is right


_VALID = oip.encode_request({"x": np.arange(12, dtype="<u2").reshape(3, 4)}, outputs=["logits"])


@given(st.integers(0, len(_VALID.content) - 1), st.integers(0, 255))
def test_one_wrong_byte_is_refused_or_decoded_never_worse(position: int, byte: int) -> None:
    content = bytearray(_VALID.content)
    content[position] = byte
    try:
        _, tensors = oip.decode_request(bytes(content), str(_VALID.header_length))
    except oip.ProtocolError:
        return
    assert all(array.nbytes == 24 for array in tensors.values())
