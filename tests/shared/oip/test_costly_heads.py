"""Heads that would cost gigabytes or minutes to refuse, were they looked at as closely as others."""

import tracemalloc

import pytest

from shared import oip

BIG = "9" * 4000


def _tensor(shape: str, data: str = "[1]") -> str:
    return f'{{"inputs": [{{"name": "x", "datatype": "UINT8", "shape": {shape}, "data": {data}}}]}}'


def _parameters(inside: str) -> str:
    return f'{{"inputs": [], "parameters": {{{inside}}}}}'


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ('{"inputs": [' + "0," * 200_000 + "0]}", r"^inputs\.0: "),
        (_tensor("[" + '"",' * 200_000 + "0]"), r"^inputs\.0\.shape\.0: "),
        (_tensor("[" + "1," * 64 + "1]"), "shape: .* at most 64"),
        (_tensor(f"[{BIG}, {BIG}]"), r"shape: .* below 2\*\*63"),
        (_tensor("[101]", f'["{"a" * 10**6}"' + ', ""' * 100 + "]"), "got other values"),
        ('{"inputs": [], "outputs": [' + '{"name": "x"},' * 256 + '{"name": "x"}]}', "outputs: .* at most 256"),
        (_parameters('"a": NaN'), "finite numbers"),
        (_parameters('"a": [[]]'), "finite numbers"),
        (_parameters(",".join(f'"{n}": 0' for n in range(257))), "at most 256 parameters"),
        ('{"inputs": [' + "{}," * 2**16 + "{}]}", "lists and objects"),
    ],
    ids=["faults", "sizes", "dimensions", "digits", "texts", "outputs", "NaN", "nested", "parameters", "lists"],
)
def test_head_whose_refusal_would_be_dear_is_refused_cheaply(head: str, message: str) -> None:
    """At the first fault, in a short message, and in some hundred bytes for each that came, or less."""
    tracemalloc.start()
    try:
        with pytest.raises(oip.ProtocolError, match=message) as refusal:
            oip.decode_request(head.encode(), None)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(head) + 10**6
    finally:
        tracemalloc.stop()
    assert len(str(refusal.value)) < 400


def test_longer_head_than_is_read_is_refused_wherever_it_ends() -> None:
    content = b'{"inputs": []}' + bytes(100)
    with pytest.raises(oip.HeadTooLong, match="at most 13 bytes of JSON, got 14"):
        oip.decode_request(content, "14", max_head_bytes=13)
    with pytest.raises(oip.HeadTooLong, match="got 114"):
        oip.decode_request(content, None, max_head_bytes=113)
