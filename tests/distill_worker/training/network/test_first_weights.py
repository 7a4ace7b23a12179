"""The weights that a student starts from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from distill_worker.errors import ConfigError
from distill_worker.training.network.first_weights import digest_of, load_first_weights
from shared.networks import build_network
from shared.weights import WeightsCard, weights_bytes


def _network(seed: int, classes: int = 10, name: str = "resnet8") -> nn.Module:
    torch.manual_seed(seed)
    return build_network(name, num_classes=classes, in_channels=1)


def _same(one: nn.Module, other: nn.Module, but: tuple[str, ...] = ()) -> bool:
    others = other.state_dict()
    return all(torch.equal(values, others[name]) != (name in but) for name, values in one.state_dict().items())


def _written(folder: Path, kind: str, network: nn.Module) -> Path:
    """The file of a network's weights, as different programs write it."""
    state = network.state_dict()
    if kind.endswith("safetensors"):
        file = folder / "student.safetensors"
        card = WeightsCard(
            network="resnet8", num_classes=10, in_channels=1, image_size=(8, 8), mean=(0.5,), std=(0.5,),
            class_names=tuple("0123456789"),
        )  # fmt: skip
        if kind == "ours.safetensors":
            file.write_bytes(weights_bytes(network, card))
        else:
            save_file({name: values.contiguous() for name, values in state.items()}, file)
        return file
    content: Any = {
        "plain": state,
        "checkpoint": {"epoch": 3, "state_dict": state},
        "of several processes": {f"module.{name}": values for name, values in state.items()},
        "of an earlier PyTorch": {name: one for name, one in state.items() if not name.endswith("num_batches_tracked")},
    }[kind]
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


@pytest.mark.parametrize(
    "kind",
    ["ours.safetensors", "foreign.safetensors", "plain", "checkpoint", "of several processes", "of an earlier PyTorch"],
)
def test_every_tensor_comes_from_the_file(tmp_path: Path, kind: str) -> None:
    source, network = _network(1), _network(2)
    assert load_first_weights(network, _written(tmp_path, kind, source), num_classes=10) == []
    assert _same(source, network)


def test_classifier_for_other_classes_is_left_as_drawn(tmp_path: Path) -> None:
    source, network, drawn = _network(1, classes=7), _network(2), _network(2)
    left_out = load_first_weights(network, _written(tmp_path, "plain", source), num_classes=10)
    assert left_out == ["classifier.weight", "classifier.bias"]
    assert torch.equal(network.state_dict()["classifier.weight"], drawn.state_dict()["classifier.weight"])
    body = {name: values for name, values in source.state_dict().items() if name not in left_out}
    assert all(torch.equal(network.state_dict()[name], values) for name, values in body.items())


def test_torchvision_weights_of_a_thousand_classes_fit(tmp_path: Path) -> None:
    from torchvision import models

    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    network = build_network("torchvision:resnet18", num_classes=5, in_channels=3)
    assert load_first_weights(network, tmp_path / "resnet18.pth", num_classes=5) == ["fc.weight", "fc.bias"]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    """Tensors that are absent, that the network lacks, and of another shape: nothing is loaded."""
    file = _written(tmp_path, "plain", _network(1, name="resnet14"))
    network, before = _network(2), _network(2)
    with pytest.raises(ConfigError, match=r"student.weights: .*with others, named stages.0.1.*and \d+ more; name the"):
        load_first_weights(network, file, num_classes=10)
    state = _network(1).state_dict()
    del state["classifier.bias"]
    state["classifier.weight"] = torch.zeros(10, 3)
    torch.save(state, file)
    message = r"without classifier.bias; of other shapes: classifier.weight \[10, 3\] in place of \[10, 64\]"
    with pytest.raises(ConfigError, match=message):
        load_first_weights(network, file, num_classes=10)
    assert _same(network, before)


def test_file_that_runs_code_is_rejected(tmp_path: Path) -> None:
    torch.save(_network(1), tmp_path / "whole.pth")  # a pickled module
    with pytest.raises(ConfigError, match=r"cannot be read so .*torch.save\(network.state_dict\(\), path\)"):
        load_first_weights(_network(2), tmp_path / "whole.pth", num_classes=10)


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_unreadable_file_is_a_config_error(tmp_path: Path, content: bytes | None) -> None:
    for name in ("weights.pth", "weights.safetensors"):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=r"student.weights: "):
            load_first_weights(_network(2), tmp_path / name, num_classes=10)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ConfigError, match="expected a state dict of tensors"):
        load_first_weights(_network(2), tmp_path / "list.pth", num_classes=10)


def test_digest_is_of_the_tensors_alone(tmp_path: Path) -> None:
    """Not of the name or the format of the file."""
    network = _network(1)
    digests = set()
    for kind in ("plain", "checkpoint", "foreign.safetensors", "of several processes"):
        (tmp_path / kind).mkdir()
        digests.add(digest_of(_written(tmp_path / kind, kind, network)))
    assert len(digests) == 1
    assert digest_of(_written(tmp_path, "plain", _network(2))) not in digests
