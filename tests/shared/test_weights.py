"""Weights files describe themselves, and their fingerprint identifies what they answer."""

import json
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from shared.networks import build_network
from shared.weights import WeightsCard, WeightsError, fingerprint, load_weights, weights_bytes

_FACTS: dict[str, Any] = {
    "network": "resnet8",
    "num_classes": 2,
    "in_channels": 1,
    "image_size": [8, 8],
    "mean": [0.5],
    "std": [0.25],
    "class_names": ["cat", "dog"],
}


def _card(**changes: Any) -> WeightsCard:
    return WeightsCard(**{**_FACTS, **changes})


def _state() -> dict[str, Tensor]:
    return {
        "weight": torch.tensor([[0.5], [0.25]]),
        "bias": torch.tensor([1.0, -2.0]),
        "steps": torch.tensor(7),
    }


def _network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return build_network("resnet8", num_classes=2, in_channels=1)


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "weights.safetensors"
    path.write_bytes(content)
    return path


def test_fingerprint_is_the_known_digest_of_a_known_file() -> None:
    """Laid out by hand with struct: a change here makes every bought output belong to another teacher."""
    card = (
        b'{"class_names": ["cat", "dog"], "image_size": [8, 8], "in_channels": 1, "mean": [0.5], '
        b'"network": "resnet8", "num_classes": 2, "std": [0.25]}'
    )
    bias = b"bias:<f4:(2,):" + struct.pack("<2f", 1.0, -2.0)
    steps = b"steps:<i8:():" + struct.pack("<q", 7)
    weight = b"weight:<f4:(2, 1):" + struct.pack("<2f", 0.5, 0.25)
    assert sha256(card + bias + steps + weight).hexdigest()[:16] == "9f4480299d69fae4"
    assert fingerprint(_card(), _state()) == "9f4480299d69fae4"


def test_fingerprint_ignores_provenance_order_and_memory_layout() -> None:
    expected = fingerprint(_card(), _state())
    backwards = dict(reversed(_state().items()))
    strided = _state() | {"weight": torch.tensor([[0.5, 9.0], [0.25, 9.0]])[:, :1]}
    assert fingerprint(_card(provenance={"data_set": "digits", "seed": 3}), backwards) == expected
    assert fingerprint(_card(), strided) == expected


@pytest.mark.parametrize(
    "changed",
    [
        lambda: (_card(mean=[0.5000001]), _state()),
        lambda: (_card(std=[0.2500001]), _state()),
        lambda: (_card(resize=[16, 16]), _state()),
        lambda: (_card(network="resnet14"), _state()),
        lambda: (_card(image_size=[8, 9]), _state()),
        lambda: (_card(), _state() | {"bias": torch.tensor([1.0, -2.0000002])}),
        lambda: (_card(), _state() | {"weight": torch.tensor([[0.25], [0.5]])}),
        lambda: (_card(), _state() | {"weight": torch.tensor([[0.5, 0.25]])}),
        lambda: (_card(), _state() | {"steps": torch.tensor(7, dtype=torch.int32)}),
        lambda: (_card(), _state() | {"extra": torch.tensor(0.0)}),
    ],
    ids=["mean", "std", "resize", "network", "image_size", "one_bit", "order", "shape", "dtype", "extra_tensor"],
)
def test_fingerprint_changes_with_whatever_changes_an_output(
    changed: Callable[[], tuple[WeightsCard, dict[str, Tensor]]],
) -> None:
    assert fingerprint(*changed()) != fingerprint(_card(), _state())


def test_load_gives_back_card_and_network(tmp_path: Path) -> None:
    """The tensors to the last bit, in evaluation mode, under the fingerprint of what was written."""
    network, card = _network(), _card(provenance={"method": "ce", "seed": 5})
    loaded_card, loaded, found = load_weights(_written(tmp_path, weights_bytes(network, card)))
    assert loaded_card == card
    assert not loaded.training
    expected = network.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(values, expected[name]) for name, values in loaded.state_dict().items())
    assert found == fingerprint(card, expected)


def test_load_leaves_the_random_state_alone(tmp_path: Path) -> None:
    path = _written(tmp_path, weights_bytes(_network(), _card()))
    before = torch.random.get_rng_state()
    load_weights(path)
    assert torch.equal(torch.random.get_rng_state(), before)


def _with_card(card: str) -> bytes:
    return save(_network().state_dict(), metadata={"tuition": card})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: b"", "expected a safetensors file"),
        (lambda: b"PK\x03\x04 this is a zip file, as torch.save writes", "expected a safetensors file"),
        (lambda: weights_bytes(_network(), _card())[:-1], "expected a safetensors file"),
        (lambda: save({"weight": torch.zeros(2)}), "does not describe itself"),
        (lambda: save({"weight": torch.zeros(2)}, metadata={"other": "{}"}), "does not describe itself"),
        (lambda: _with_card("not json"), "description does not fit"),
        (lambda: _with_card("{}"), "description does not fit"),
        (lambda: _with_card(json.dumps(_FACTS | {"network": "resnet9"})), "description does not fit"),
        (lambda: _with_card(json.dumps(_FACTS | {"network": "resnet14"})), "description does not fit"),
        (lambda: _with_card(json.dumps(_FACTS | {"surprise": 1})), "description does not fit"),
        (
            lambda: weights_bytes(_network(), _card(num_classes=3, class_names=["a", "b", "c"])),
            "description does not fit",
        ),
    ],
    ids=[
        "empty", "zip", "cut_short", "no_metadata", "foreign_metadata", "no_json", "empty_card", "unknown_network",
        "other_network", "unknown_field", "other_num_classes",
    ],
)  # fmt: skip
def test_load_refuses_a_file_that_does_not_describe_itself(
    tmp_path: Path, content: Callable[[], bytes], message: str
) -> None:
    path = _written(tmp_path, content())
    with pytest.raises(WeightsError, match=message) as refused:
        load_weights(path)
    assert str(path) in str(refused.value)


def test_fingerprint_covers_tensors_of_types_that_numpy_lacks(tmp_path: Path) -> None:
    """The values, and the type: a network in bfloat16 is another than the same numbers in float32."""
    half = {
        name: values.bfloat16() if values.is_floating_point() else values
        for name, values in _network().state_dict().items()
    }
    single = {name: values.float() if values.is_floating_point() else values for name, values in half.items()}
    bias = "classifier.bias"
    other = half | {bias: half[bias] + 1}
    card = _card()
    assert len({fingerprint(card, state) for state in (half, single, other)}) == 3
    path = _written(tmp_path, save(half, metadata={"tuition": card.model_dump_json()}))
    assert load_weights(path)[2] == fingerprint(card, half)


def test_load_refuses_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.safetensors", tmp_path):
        with pytest.raises(WeightsError, match="no such weights file"):
            load_weights(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": [0.5, 0.5]},
        {"std": []},
        {"std": [0.0]},
        {"std": [-1.0]},
        {"std": [float("nan")]},
        {"class_names": ["cat"]},
        {"num_classes": 1, "class_names": ["cat"]},
        {"in_channels": 0, "mean": [], "std": []},
        {"image_size": [8]},
        {"colour": "red"},
    ],
)
def test_card_refuses_facts_that_contradict_each_other(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _card(**changes)


_FACTORY = """
from pathlib import Path
from torch import nn

Path("was_run").touch()

class Tied(nn.Module):
    def __init__(self, width, num_classes):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.classifier(self.second(self.first(images.mean(dim=(2, 3)))))

def make(num_classes, in_channels):
    return Tied(in_channels, num_classes)
"""


@pytest.mark.parametrize("name", ["vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2", "torchvision:resnet18"])
def test_every_family_comes_back_without_trust_and_answers_alike(tmp_path: Path, name: str) -> None:
    network = build_network(name, num_classes=2, in_channels=1)
    network(torch.randn(4, 1, 32, 32))  # so that the statistics of the normalisations are not those of a new network
    path = _written(tmp_path, weights_bytes(network, _card(network=name)))
    card, loaded, _ = load_weights(path)
    images = torch.randn(2, 1, 32, 32)
    assert card.network == name
    with torch.no_grad():
        assert loaded(images).equal(network.eval()(images))


def test_factory_network_comes_back_when_its_code_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers share one weight, which a safetensors file cannot say: both are written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tied.py").write_text(_FACTORY)
    network, card = build_network("tied.py:make", num_classes=2, in_channels=1), _card(network="tied.py:make")
    loaded_card, loaded, found = load_weights(_written(tmp_path, weights_bytes(network, card)), trust_code=True)
    assert loaded_card == card
    assert found == fingerprint(card, network.state_dict())
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        assert loaded(images).equal(network(images))


@pytest.mark.parametrize("name", ["untrusted.py:make", "untrusted:make", "package.untrusted:make"])
def test_code_is_not_run_unless_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package").mkdir()
    for file in ("untrusted.py", "package/untrusted.py"):
        (tmp_path / file).write_text(_FACTORY)
    path = _written(tmp_path, save(_state(), metadata={"tuition": _card(network=name).model_dump_json()}))
    with pytest.raises(WeightsError, match="pass --trust-code if you trust the file's author") as refused:
        load_weights(path)
    assert str(path) in str(refused.value)
    assert repr(name) in str(refused.value)
    assert not (tmp_path / "was_run").exists()


def test_trusted_code_that_is_missing_is_a_weights_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = _written(tmp_path, save(_state(), metadata={"tuition": _card(network="gone.py:make").model_dump_json()}))
    with pytest.raises(WeightsError, match=r"there is no file .*gone\.py"):
        load_weights(path, trust_code=True)
