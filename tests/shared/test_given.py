"""Networks that are handed over as modules."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from shared.networks import build_network, runs_code
from shared.networks.given import given, given_digest, is_given, looks_trained, name_of, weights_digest
from shared.weights import WeightsError, load_weights, weights_bytes
from tests.small_teacher import small_card


class Small(nn.Module):
    """Logits of a linear layer."""

    def __init__(self, hidden: int = 4) -> None:
        super().__init__()
        self.norm, self.hidden, self.last = nn.BatchNorm2d(1), nn.Linear(64, hidden), nn.Linear(hidden, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.last(torch.relu(self.hidden(self.norm(images).flatten(1))))
        return logits


def test_each_build_is_a_copy_with_the_weights_of_then() -> None:
    """What happens to one copy, or to the module itself, changes no other."""
    module = Small()
    before = copy.deepcopy(module.state_dict())
    name = name_of(module, pretrained=False)
    assert (name, is_given(name), runs_code(name)) == ("given::Small", True, False)
    with given(name, module):
        first = build_network(name, num_classes=10, in_channels=1)
        nn.init.zeros_(first.get_parameter("last.weight"))
        nn.init.zeros_(module.last.weight)
        second = build_network(name, num_classes=10, in_channels=1)
    assert all(torch.equal(second.state_dict()[key], values) for key, values in before.items())
    with pytest.raises(ValueError, match=r"'given::Small' is a module that was given in Python.*network=module"):
        build_network(name, num_classes=10, in_channels=1)


def test_digests_tell_modules_apart() -> None:
    """By layers and by weights; a module with the same of both has the same."""
    torch.manual_seed(0)
    one = Small()
    digests = []
    for module in (one, copy.deepcopy(one), Small(), Small(hidden=5)):
        with given("given::Small", module):
            digests.append((given_digest("given::Small"), weights_digest("given::Small")))
    assert digests[0] == digests[1]
    assert digests[2][0] == digests[0][0]
    assert digests[2][1] != digests[0][1]
    assert digests[3][0] != digests[0][0]


def test_module_that_cannot_be_copied_is_an_error() -> None:
    module = Small()
    module.kept = module.last(torch.ones(1, 4))
    with (
        pytest.raises(ValueError, match=r"module that can be copied, got an error from Small"),
        given("given::x", module),
    ):
        pass


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(8), nn.LayerNorm(8), nn.GroupNorm(2, 8)])
def test_training_shows_in_normalisations(norm: nn.Module) -> None:
    """Fresh ones have one scale, and no statistics; others need not be trained, and are not said to be."""
    module = nn.Sequential(nn.Linear(4, 8), norm, nn.Linear(8, 3))
    assert not looks_trained(module)
    assert not looks_trained(nn.Linear(4, 3))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(torch.randn(16, 4)).square().mean().backward()
    optimizer.step()
    assert looks_trained(module)


def test_statistics_alone_show_training() -> None:
    module = nn.Sequential(nn.BatchNorm2d(1, affine=False))
    assert not looks_trained(module)
    module(torch.randn(4, 1, 2, 2) + 3)
    assert looks_trained(module)


def test_weights_file_is_loaded_with_the_module_again(tmp_path: Path) -> None:
    """Without it, the message says how."""
    file = tmp_path / "student.safetensors"
    module = Small()
    file.write_bytes(weights_bytes(module, small_card(network="given::Small")))
    with pytest.raises(WeightsError, match=r"distill_worker.load\(path, network=module\)"):
        load_weights(file, trust_code=True)
    with given("given::Small", Small()):
        _, loaded, _ = load_weights(file)
    assert torch.equal(loaded.state_dict()["last.weight"], module.last.weight)
    with given("given::Small", Small(hidden=5)), pytest.raises(WeightsError, match="does not fit the tensors"):
        load_weights(file)
