"""An ONNX model is a teacher like any other: the same answers, a fingerprint, and a refusal where it does not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from shared.networks.taps import forward_with_features
from shared.weights import WeightsCard, WeightsError, load_weights
from teacher_service.models import OnnxTeacher, TorchTeacher, open_teacher
from teacher_service.settings import Settings
from tests.teacher_service.running_service import images


class _WithFeatures(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = forward_with_features(self.network, pixels, ["stage1"])
        return logits, features["stage1"]


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, WeightsCard]:
    """The teacher of these tests, as PyTorch exports it, and its card."""
    card, network, _ = load_weights(weights)
    path = tmp_path_factory.mktemp("onnx") / "exported.onnx"
    program = torch.onnx.export(
        _WithFeatures(network).eval(),
        (torch.zeros(2, 3, 8, 8),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        output_names=["logits", "stage1"],
        verbose=False,
    )
    assert program is not None
    program.save(path)
    return path.read_bytes(), card


@pytest.fixture
def model(exported: tuple[bytes, WeightsCard], tmp_path: Path) -> Path:
    """The model with its card beside it."""
    return _written(tmp_path, *exported)


def _written(folder: Path, content: bytes, card: WeightsCard | None = None) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    if card is not None:
        path.with_name("model.onnx.json").write_text(card.model_dump_json())
    return path


def _linear(shape: list[Any], classes: int = 4, channels: int = 3) -> bytes:
    """A model whose logits are `classes` sums of the pixels."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], classes])],
        [helper.make_tensor("weight", TensorProto.FLOAT, [channels * 64, classes], [0.5] * (channels * 64 * classes))],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = made.SerializeToString()
    return content


def test_gives_what_the_network_gives_that_it_was_exported_from(model: Path, weights: Path) -> None:
    onnx_teacher, torch_teacher = OnnxTeacher(model, "cpu"), TorchTeacher(weights, "cpu")
    names = ("features.stage1", "logits")
    assert onnx_teacher.outputs == {name: torch_teacher.outputs[name] for name in ("logits", "features.stage1")}
    for samples in (1, 5):
        found, expected = (
            teacher.unpack(teacher.predict(images(samples), names), names) for teacher in (onnx_teacher, torch_teacher)
        )
        for name in names:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_is_opened_by_its_name(model: Path) -> None:
    assert isinstance(open_teacher(Settings(weights=model, device="cpu")), OnnxTeacher)


def test_card_may_be_among_the_metadata_properties(exported: tuple[bytes, WeightsCard], tmp_path: Path) -> None:
    content, card = exported
    proto = onnx.load_from_string(content)
    helper.set_model_props(proto, {"tuition": card.model_dump_json()})
    assert OnnxTeacher(_written(tmp_path, proto.SerializeToString()), "cpu").card == card


def test_fingerprint_covers_model_and_card_and_not_where_they_came_from(
    exported: tuple[bytes, WeightsCard], tmp_path: Path
) -> None:
    content, card = exported
    proto = onnx.load_from_string(content)
    proto.graph.initializer[0].raw_data = bytes(len(proto.graph.initializer[0].raw_data))
    cases = {
        "same": (content, card.model_copy(update={"provenance": {"seed": 1}})),
        "first": (content, card),
        "other mean": (content, card.model_copy(update={"mean": (0.5, 0.4, 0.31)})),
        "other weights": (proto.SerializeToString(), card),
    }
    found = {name: OnnxTeacher(_written(tmp_path, *case), "cpu").fingerprint for name, case in cases.items()}
    assert found["same"] == found["first"]
    assert len(set(found.values())) == len(cases) - 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: b"not a model", "expected an ONNX model"),
        (lambda: _linear([1, 3, 8, 8]), "in batches of any size"),
        (lambda: _linear(["batch", 1, 8, 8], channels=1), r"float32 \[batch, 3, height, width\]"),
        (lambda: _linear(["batch", 3, 8, 8], classes=5), r"logits \[batch, 4\], got \[2, 5\]"),
    ],
)
def test_model_that_does_not_fit_its_card_is_refused_at_the_start(
    exported: tuple[bytes, WeightsCard],
    tmp_path: Path,
    content: Callable[[], bytes],
    message: str,
) -> None:
    with pytest.raises(WeightsError, match=message):
        OnnxTeacher(_written(tmp_path, content(), exported[1]), "cpu")


def test_model_without_a_card_is_told_where_one_belongs(exported: tuple[bytes, WeightsCard], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no model\.onnx\.json beside it"):
        OnnxTeacher(_written(tmp_path, exported[0]), "cpu")


def test_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.onnx: the model cannot be read \(No such file"):
        OnnxTeacher(tmp_path / "none.onnx", "cpu")


def test_precision_is_the_file_s_own(model: Path) -> None:
    with pytest.raises(ValueError, match="precision: expected float32, got bfloat16"):
        open_teacher(Settings(weights=model, device="cpu", precision="bfloat16"))
