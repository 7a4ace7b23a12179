"""Each kind of file becomes one that describes itself, with the same logits; anything unclear is an error."""

import json
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from shared.networks import build_network
from shared.weights import WeightsCard, WeightsError, load_weights
from teacher_service.models import Teacher, open_model
from teacher_service.models.file_kind import FileKind
from teacher_service.models.packing.description import Description
from teacher_service.models.packing.pack import Packed, PackRequest, pack
from teacher_service.models.packing.preprocessing import Preprocessing
from tests.teacher_service.made_elsewhere import (
    FACTORY,
    MEAN,
    NAMES,
    SIZE,
    STD,
    card,
    expected,
    onnx_model,
    onnx_properties,
    pixels,
    small,
)

_VALUES = Preprocessing(MEAN, STD)


@pytest.fixture
def factory(tmp_path: Path) -> str:
    """The name of the network in a file of the person's own."""
    (tmp_path / "own.py").write_text(FACTORY)
    return f"{tmp_path / 'own.py'}:make"


def _request(source: Path, network: str | None = None, *, trusted: bool = True, **stated: Any) -> PackRequest:
    facts = {"class_names": NAMES, "preprocessing": _VALUES.changed(image_size=SIZE), **stated}
    description = Description(f"the file {source}", **facts)
    return PackRequest(source, description, network, trust_code=trusted, trust_pickle=trusted)


def _opened(packed: Packed, folder: Path) -> Teacher:
    path = folder / "packed"
    path.write_bytes(packed.content)
    return open_model(path, "cpu", trust_code=True)


_SAVED: Mapping[str, Callable[[Path], object]] = {
    "state dict": lambda path: torch.save(small().state_dict(), path),
    "state dict of an old version": lambda path: torch.save(
        small().state_dict(), path, _use_new_zipfile_serialization=False
    ),
    "checkpoint": lambda path: torch.save({"epoch": 3, "state_dict": nn.DataParallel(small()).state_dict()}, path),
    "safetensors": lambda path: save_file(small().state_dict(), path),
    "half precision": lambda path: torch.save(small().half().state_dict(), path),
    "whole network": lambda path: torch.save(small(), path),
}


@pytest.mark.parametrize("name", _SAVED)
def test_tensors_become_a_weights_file(name: str, factory: str, tmp_path: Path) -> None:
    """With the numbers of classes and channels that they show, and the code that they need."""
    _SAVED[name](tmp_path / "my.pth")
    packed = pack(_request(tmp_path / "my.pth", factory))
    assert packed.kind is FileKind.WEIGHTS
    assert packed.card.provenance["packed_from"] == "my.pth"
    assert len(packed.card.provenance["code"]) == 16
    assert (packed.card.num_classes, packed.card.in_channels, packed.card.class_names) == (3, 3, NAMES)
    tolerance = 0.05 if name == "half precision" else 1e-5
    np.testing.assert_allclose(
        _opened(packed, tmp_path).predict(pixels(3)), expected(small(), pixels(3)), atol=tolerance
    )


def test_safe_sources_need_no_trust(factory: str, tmp_path: Path) -> None:
    torch.save(small().state_dict(), tmp_path / "my.pth")
    (tmp_path / "model.onnx").write_bytes(onnx_model())
    for source, network in ((tmp_path / "my.pth", factory), (tmp_path / "model.onnx", None)):
        assert pack(_request(source, network, trusted=False)).card.num_classes == 3


@pytest.mark.parametrize("kind", ["torchscript", "traced", "exported", "fixed", "bounded"])
def test_archive_gets_a_card_and_keeps_its_program(kind: str, archives: Mapping[str, Path], tmp_path: Path) -> None:
    packed = pack(_request(archives[kind]))
    assert packed.card == card(network="torchscript" if kind in ("torchscript", "traced") else "torch-export")
    np.testing.assert_allclose(
        _opened(packed, tmp_path).predict(pixels(4)), expected(small(), pixels(4)), rtol=1e-4, atol=1e-5
    )


def test_size_of_the_images_is_that_of_an_exported_program(archives: Mapping[str, Path]) -> None:
    """Also where a preset has a usual one, unless the service resizes."""
    for stated in (_VALUES, _VALUES.changed(usual_size=(224, 224))):
        assert pack(_request(archives["exported"], preprocessing=stated)).card.image_size == SIZE
    resized = pack(_request(archives["exported"], preprocessing=_VALUES.changed(image_size=(24, 24), resize=SIZE))).card
    assert (resized.image_size, resized.resize) == ((24, 24), SIZE)


@pytest.mark.parametrize("batch", ["batch", 1, 3])
def test_onnx_model_gets_a_card(batch: int | str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(onnx_model(batch))
    packed = pack(_request(tmp_path / "model.onnx", preprocessing=_VALUES))
    assert (packed.kind, packed.card) == (FileKind.ONNX, card(network="onnx"))
    assert WeightsCard.model_validate_json(onnx_properties(packed.content)["tuition"]) == packed.card
    assert _opened(packed, tmp_path).predict(pixels(5)).shape == (5, 3)


def test_whole_network_becomes_a_program_without_its_code(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "whole.pt")
    packed = pack(_request(tmp_path / "whole.pt"))
    assert (packed.kind, packed.card) == (FileKind.EXPORTED, card(network="torch-export"))
    assert any("the network Small was saved as a program of torch.export" in remark for remark in packed.remarks)
    np.testing.assert_allclose(
        _opened(packed, tmp_path).predict(pixels(3)), expected(small(), pixels(3)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("channels", "number"), [(3, 10), (1, 4)])
def test_checkpoint_of_torchvision(channels: int, number: int, tmp_path: Path) -> None:
    network = build_network("torchvision:shufflenet_v2_x0_5", num_classes=number, in_channels=channels)
    torch.save(network.state_dict(), tmp_path / "my.pth")
    stated = {"class_names": None, "preprocessing": Preprocessing((0.5,), (0.25,), (64, 64))}
    packed = pack(_request(tmp_path / "my.pth", "torchvision:shufflenet_v2_x0_5", trusted=False, **stated))
    assert (packed.card.num_classes, packed.card.in_channels) == (number, channels)
    (tmp_path / "packed").write_bytes(packed.content)
    loaded = load_weights(tmp_path / "packed")[1].state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in network.state_dict().items())
    assert any("the classes have no names but numbers" in remark for remark in packed.remarks)


def test_checkpoint_of_timm_where_it_is_installed(
    factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for timm with its functions: the project does not depend on timm."""
    timm = types.ModuleType("timm")
    facts: dict[str, Any] = {
        "__version__": "1.0",
        "is_model": lambda name: name == "small.v1_in1k",
        "list_models": lambda: ["small.v1_in1k"],
        "create_model": lambda _, *, pretrained, num_classes, in_chans: (
            pretrained or build_network(factory, num_classes=num_classes, in_channels=in_chans)
        ),
    }
    for name, value in facts.items():
        setattr(timm, name, value)
    monkeypatch.setitem(sys.modules, "timm", timm)
    torch.save(small().state_dict(), tmp_path / "my.pth")
    packed = pack(_request(tmp_path / "my.pth", "timm:small.v1_in1k", trusted=False))
    path = tmp_path / "packed.safetensors"
    path.write_bytes(packed.content)
    np.testing.assert_allclose(open_model(path, "cpu").predict(pixels(3)), expected(small(), pixels(3)), atol=1e-5)


def test_packing_twice_gives_the_same_bytes(factory: str, archives: Mapping[str, Path], tmp_path: Path) -> None:
    """So that a teacher that is packed again is the same teacher."""
    torch.save(small().state_dict(), tmp_path / "my.pth")
    (tmp_path / "model.onnx").write_bytes(onnx_model())
    for source, network in (
        (tmp_path / "my.pth", factory),
        (tmp_path / "model.onnx", None),
        (archives["torchscript"], None),
        (archives["exported"], None),
    ):
        assert pack(_request(source, network)).content == pack(_request(source, network)).content


def test_file_that_describes_itself_is_not_described_anew(
    factory: str, archives: Mapping[str, Path], tmp_path: Path
) -> None:
    """Its card may say that the teacher is degraded."""
    torch.save(small().state_dict(), tmp_path / "my.pth")
    (tmp_path / "model.onnx").write_bytes(onnx_model())
    for source, network in (
        (tmp_path / "my.pth", factory),
        (tmp_path / "model.onnx", None),
        (archives["traced"], None),
    ):
        path = tmp_path / "packed"
        path.write_bytes(pack(_request(source, network)).content)
        with pytest.raises(ValueError, match="got one that describes itself already"):
            pack(_request(path, network))


_TRUST: Mapping[str, tuple[str, str]] = {
    "torchscript": ("archive", r"TorchScript archive, whose code runs when it is loaded; pass --trust-code if"),
    "exported": ("archive", r"program of torch\.export, whose code runs when it is loaded; pass --trust-code if"),
    "whole": ("pickle", r"also holds .*pass --trust-pickle if you trust"),
}


@pytest.mark.parametrize("name", _TRUST)
def test_file_that_runs_code_needs_trust(name: str, archives: Mapping[str, Path], tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "whole.pt")
    with pytest.raises(WeightsError, match=_TRUST[name][1]):
        pack(_request(archives.get(name, tmp_path / "whole.pt"), trusted=False))


@pytest.mark.parametrize(
    ("network", "stated", "error", "message"),
    [
        (None, {}, ValueError, r"network: expected the network whose parameters .*my\.pth holds.*state --network"),
        ("FACTORY", {"class_names": ("a", "b")}, ValueError, r"got 3 from the file .*my\.pth, 2 from class_names"),
        ("FACTORY", {"num_classes": 5}, ValueError, r"got 3 from the file .*my\.pth, 5 from num_classes"),
        ("FACTORY", {"in_channels": 1}, ValueError, r"got 3 from the file .*my\.pth, 1 from in_channels"),
        ("FACTORY", {"preprocessing": Preprocessing(image_size=SIZE)}, ValueError, "mean and std: expected the values"),
        ("FACTORY", {"preprocessing": _VALUES}, ValueError, "image_size: expected height and width"),
        (
            "FACTORY",
            {"preprocessing": _VALUES.changed(image_size=(2, 2))},
            ValueError,
            r"images of shape \[3, 2, 2",
        ),
        ("resnet8", {}, WeightsError, r"expected the parameters of resnet8, got no '.*name the network"),
        ("resnet9", {}, ValueError, "depth|no network is called"),
        ("torchvision:resnet81", {}, ValueError, "torchvision has no classifier 'resnet81'; did you mean 'resnet18'"),
        ("timm:resnet18", {}, ValueError, "timm:resnet18 needs the package timm"),
    ],
)
def test_statement_that_does_not_fit_is_an_error(
    network: str | None,
    stated: Mapping[str, Any],
    error: type[ValueError],
    message: str,
    factory: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    torch.save(small().state_dict(), tmp_path / "my.pth")
    with pytest.raises(error, match=message):
        pack(_request(tmp_path / "my.pth", factory if network == "FACTORY" else network, **stated))


def test_tensors_of_another_width_are_an_error_that_names_one(tmp_path: Path) -> None:
    network = build_network("torchvision:shufflenet_v2_x0_5", num_classes=3, in_channels=3)
    torch.save(network.state_dict(), tmp_path / "my.pth")
    with pytest.raises(WeightsError, match=r"expected the parameters of .*x1_0 for 3 classes .*size mismatch for"):
        pack(_request(tmp_path / "my.pth", "torchvision:shufflenet_v2_x1_0"))


def test_network_that_cannot_be_traced_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    torch.save(Untraceable(), tmp_path / "whole.pt")
    with pytest.raises(ValueError, match=r"Untraceable cannot be saved as a program of torch\.export .*--network"):
        pack(_request(tmp_path / "whole.pt"))


class Untraceable(nn.Module):
    """Its computation depends on the values of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.network(images)
        return logits if json.dumps(float(images.sum())) else -logits


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n", b"version https://git-lfs"])
def test_file_that_holds_no_model_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "my.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="expected the file of a model, got"):
        pack(_request(tmp_path / "my.pth"))
