"""An ONNX model is a teacher like any other: the same answers, a fingerprint, and a refusal where it does not fit."""

import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from shared.networks.taps import forward_with_features
from shared.weights import WeightsCard, WeightsError, canonical_card, load_weights
from teacher_service.models import OnnxTeacher, TorchTeacher, open_teacher
from teacher_service.models.external_data import external_files
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


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("samples", [1, 2, 7])
def test_model_of_a_fixed_batch_size_is_served_in_batches_of_that_size(
    exported: tuple[bytes, WeightsCard], tmp_path: Path, batch: int, samples: int
) -> None:
    fixed, free = (
        OnnxTeacher(_written(tmp_path, _linear([size, 3, 8, 8]), exported[1]), "cpu") for size in (batch, "batch")
    )
    np.testing.assert_allclose(fixed.predict(images(samples)), free.predict(images(samples)), rtol=1e-5)


def test_model_without_a_card_is_told_where_one_belongs(exported: tuple[bytes, WeightsCard], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"(?s)no model\.onnx\.json beside it.*\n  teacher-service pack --model "):
        OnnxTeacher(_written(tmp_path, exported[0]), "cpu")


def test_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.onnx: the model cannot be read \(No such file"):
        OnnxTeacher(tmp_path / "none.onnx", "cpu")


def test_precision_is_the_file_s_own(model: Path) -> None:
    with pytest.raises(ValueError, match="precision: expected float32, got bfloat16"):
        open_teacher(Settings(weights=model, device="cpu", precision="bfloat16"))


def _with_external_data(
    folder: Path, card: WeightsCard, *, location: str = "model.onnx.data", value: float = 0.5
) -> Path:
    """The linear model, its weights in another file."""
    proto = onnx.load_from_string(_linear(["batch", 3, 8, 8]))
    weight = proto.graph.initializer[0]
    data = np.full(list(weight.dims), value, np.float32).tobytes()
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, text in {"location": location, "offset": "0", "length": str(len(data))}.items():
        weight.external_data.add(key=key, value=text)
    file = folder / location
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return _written(folder, proto.SerializeToString(), card)


@pytest.fixture
def card(weights: Path) -> WeightsCard:
    return load_weights(weights)[0]


def test_export_with_external_data_gives_what_the_network_gives(weights: Path, tmp_path: Path) -> None:
    """As PyTorch writes it by default."""
    card, network, _ = load_weights(weights)
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, 8, 8),),
        path,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=True,
        verbose=False,
    )
    assert (tmp_path / "model.onnx.data").exists()
    path.with_name("model.onnx.json").write_text(card.model_dump_json())
    answers = [teacher.predict(images(3)) for teacher in (OnnxTeacher(path, "cpu"), TorchTeacher(weights, "cpu"))]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("location", ["model.onnx.data", "./weights.bin", "deep/er/weights.bin"])
def test_external_data_are_those_beside_the_model_wherever_one_stands(
    card: WeightsCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    """And not a file of that name in the current directory."""
    path = _with_external_data(tmp_path / "models", card, location=location)
    elsewhere = tmp_path / "elsewhere"
    _with_external_data(elsewhere, card, location=location, value=0.25)
    ends = []
    for folder, name in ((tmp_path, path), (elsewhere, path), (path.parent, Path("model.onnx"))):
        monkeypatch.chdir(folder)
        teacher = OnnxTeacher(name, "cpu")
        ends.append((teacher.fingerprint, teacher.predict(images(2)).tobytes()))
    assert len(set(ends)) == 1
    assert OnnxTeacher(elsewhere / "model.onnx", "cpu").predict(images(2)).tobytes() != ends[0][1]


def test_fingerprint_covers_external_data(card: WeightsCard, tmp_path: Path) -> None:
    fingerprints = [
        OnnxTeacher(_with_external_data(tmp_path, card, value=value), "cpu").fingerprint for value in (0.5, 0.25, 0.5)
    ]
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


def test_fingerprint_without_external_data_is_that_of_earlier_versions(card: WeightsCard, tmp_path: Path) -> None:
    content = _linear(["batch", 3, 8, 8])
    expected = sha256(canonical_card(card) + content).hexdigest()[:16]
    assert OnnxTeacher(_written(tmp_path, content, card), "cpu").fingerprint == expected


def test_running_teacher_does_not_change_when_its_external_data_are_overwritten(
    card: WeightsCard, tmp_path: Path
) -> None:
    """The tensor is large enough for onnxruntime to map it, and used as it is; the file is written in place."""
    rows = np.zeros((4 * 1024 * 1024, 4), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Cast", ["mean"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["rows", "place"], ["logits"]),
        ],
        "rows",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor("rows", TensorProto.FLOAT, list(rows.shape), rows.tobytes(), raw=True)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="model.onnx.data", size_threshold=1024)
    path.with_name("model.onnx.json").write_text(card.model_dump_json())
    teacher = OnnxTeacher(path, "cpu")
    before = teacher.predict(images(2))
    with (tmp_path / "model.onnx.data").open("r+b") as file:
        file.write((rows + 1).tobytes())
    np.testing.assert_array_equal(teacher.predict(images(2)), before)


def test_external_data_that_are_missing_are_named_with_the_remedy(card: WeightsCard, tmp_path: Path) -> None:
    path = _with_external_data(tmp_path, card)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(WeightsError, match=r"external data in .*model\.onnx\.data.*No such file.*external_data=False"):
        OnnxTeacher(path, "cpu")


@pytest.mark.parametrize("location", ["../model.onnx.data", "deep/../../x", "{folder}/x", "C:\\x", "..\\x", ""])
def test_external_data_outside_the_folder_are_rejected(card: WeightsCard, tmp_path: Path, location: str) -> None:
    path = _with_external_data(tmp_path / "models", card)
    proto = onnx.load(path, load_external_data=False)
    proto.graph.initializer[0].external_data[0].value = location.format(folder=tmp_path)
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(
        WeightsError, match=r"expected external data in the model's folder, got the location .*in one file"
    ):
        OnnxTeacher(path, "cpu")


def test_external_data_that_are_too_short_are_an_error(card: WeightsCard, tmp_path: Path) -> None:
    path = _with_external_data(tmp_path, card)
    (tmp_path / "model.onnx.data").write_bytes(bytes(16))
    with pytest.raises(WeightsError, match="expected an ONNX model that onnxruntime can run"):
        OnnxTeacher(path, "cpu")


def test_external_data_are_seen_wherever_a_model_may_hold_a_tensor() -> None:
    """In initializers, sparse ones, constants, subgraphs and functions."""

    def tensor(location: str) -> TensorProto:
        made = TensorProto(name=location, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
        made.external_data.add(key="location", value=location)
        return made

    inner = helper.make_graph([], "inner", [], [], [tensor("subgraph")])
    nodes = [
        helper.make_node("Constant", [], ["a"], value=tensor("constant")),
        helper.make_node("If", ["a"], ["b"], then_branch=inner, else_branch=inner),
    ]
    graph = helper.make_graph(nodes, "outer", [], [], [tensor("initializer")])
    sparse = graph.sparse_initializer.add()
    sparse.values.CopyFrom(tensor("values"))
    sparse.indices.CopyFrom(tensor("indices"))
    proto = helper.make_model(graph)
    node = helper.make_node("Constant", [], ["y"], value=tensor("function"))
    proto.functions.append(helper.make_function("own", "f", [], ["y"], [node], [helper.make_opsetid("", 17)]))
    unused = graph.initializer.add(name="inside", data_type=TensorProto.FLOAT, dims=[1])
    unused.external_data.add(key="location", value="not external")
    with tempfile.TemporaryDirectory() as folder:
        expected = {"subgraph", "constant", "initializer", "values", "indices", "function"}
        for name in expected:
            (Path(folder) / name).write_bytes(name.encode())
        found = external_files(Path(folder) / "model.onnx", proto.SerializeToString())
    assert found == {name: name.encode() for name in sorted(expected)}
    assert list(found) == sorted(found)
