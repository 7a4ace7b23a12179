"""Commands on a network of the user's own: whatever it raises is one clear sentence."""

from pathlib import Path

import pytest

from tests.distill_worker.cli.conftest import Command, facts_of

_NETWORK = """
from torch import nn

class Network(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 64, num_classes), nn.Dropout())

    def forward(self, images):
        return {"logits": self.body(images), "images": images}
"""


@pytest.fixture
def own(config: Path) -> tuple[str, ...]:
    """The overrides that select the network in own.py, and no teacher."""
    (config.parent / "own.py").write_text(_NETWORK)
    return ("--set", f'student.network="{config.parent / "own.py"}:Network"', "--set", "method.name=ce")


def test_network_is_trained_and_evaluated(command: Command, config: Path, own: tuple[str, ...]) -> None:
    trained = facts_of(command("train", config, *own, "--json"))
    weights = config.parent / "run" / "student.safetensors"
    evaluated = facts_of(command("evaluate", weights, "--trust-code", "--json"))
    assert evaluated["accuracy"] == trained["accuracy"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (('"logits": self.body(images)', '"logits": self.body(images)[:, :9]'), "expected logits of shape [1, 10]"),
        (("self.body(images)", "self.nobody(images)"), "AttributeError: "),
        (("super().__init__()", "raise KeyError('mine')"), "KeyError: 'mine', in "),
        (("class Network", "class Renamed"), "has no 'Network'"),
    ],
)
def test_network_that_was_edited_into_an_error_is_not_evaluated(
    command: Command, config: Path, own: tuple[str, ...], edit: tuple[str, str], message: str
) -> None:
    assert command("train", config, *own).status == 0
    (config.parent / "own.py").write_text(_NETWORK.replace(*edit))
    ended = command("evaluate", config.parent / "run" / "student.safetensors", "--trust-code")
    assert (ended.status, ended.stdout) == (3, "")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
