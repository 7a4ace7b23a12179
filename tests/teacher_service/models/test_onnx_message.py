"""A card goes into an ONNX model without the package onnx, which reads it back."""

import onnx
import pytest
from onnx import helper

from teacher_service.models.onnx_message import is_onnx, with_card
from tests.teacher_service.made_elsewhere import onnx_model, onnx_properties


@pytest.mark.parametrize("card", ["{}", "x" * 127, "x" * 128, "ä" * 20_000])
def test_card_is_read_back_and_nothing_else_changes(card: str) -> None:
    before = onnx.load_model_from_string(onnx_model())
    helper.set_model_props(before, {"author": "someone"})
    content = with_card(before.SerializeToString(), card)
    assert onnx_properties(content) == {"author": "someone", "tuition": card}
    after = onnx.load_model_from_string(content)
    helper.set_model_props(after, {"author": "someone"})
    assert after == before


def test_card_takes_the_place_of_an_earlier_one() -> None:
    content = with_card(with_card(onnx_model(), "first"), "second")
    assert onnx_properties(content) == {"tuition": "second"}
    assert content == with_card(onnx_model(), "second")


def test_only_a_whole_model_is_recognised() -> None:
    model = onnx_model()
    assert is_onnx(memoryview(model))
    for other in (b"", model[:-1], model + b"\xff", b"\x08\x08", b"\x08" + b"\xff" * 20, b"text", bytes(40)):
        assert not is_onnx(memoryview(other))
    with pytest.raises(ValueError, match="expected"):
        with_card(model + b"\xff", "{}")
