"""The identity of a network that is handed over in Python: equal for equal code, another where an output may differ."""

import linecache
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from shared.networks.module_code import network_digest
from tests.teacher_service.made_elsewhere import Small, small

_CODE = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self, scale=2.0):
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 2), scale

    def forward(self, images):
        return self.layer(images) * self.scale
"""


def _own(code: str, name: str, folder: Path | None = None, scale: float = 2.0) -> nn.Module:
    """A network of a class in a file, or of one that was typed at a prompt."""
    module = types.ModuleType(name)
    file = f"<{name}>"
    if folder is not None:
        file = str(folder / f"{name}.py")
        Path(file).write_text(code)
        module.__file__ = file
        linecache.checkcache(file)
    import sys

    sys.modules[name] = module
    exec(compile(code, file, "exec"), vars(module))  # noqa: S102 - the test's own text
    made: nn.Module = module.Own(scale)
    return made


@pytest.mark.parametrize("typed", [False, True])
def test_digest_depends_on_the_code_and_on_plain_attributes(
    typed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "same", "other"):
        monkeypatch.setitem(__import__("sys").modules, name, types.ModuleType(name))
    folder = None if typed else tmp_path
    first = network_digest(_own(_CODE, "first", folder))
    assert first == network_digest(_own(_CODE, "first", folder))
    assert first != network_digest(_own(_CODE.replace("* self.scale", "/ self.scale"), "other", folder))
    assert first != network_digest(_own(_CODE, "first", folder, scale=3.0))


def test_digest_depends_on_neither_mode_nor_tensors() -> None:
    """The fingerprint covers the tensors by itself."""
    changed = small()
    with torch.no_grad():
        changed.classifier.bias.add_(1)
    assert network_digest(small()) == network_digest(changed) == network_digest(Small().train())


def test_digest_depends_on_the_structure() -> None:
    assert network_digest(nn.Sequential(nn.ReLU(), nn.Linear(4, 2))) != network_digest(
        nn.Sequential(nn.Tanh(), nn.Linear(4, 2))
    )
    assert network_digest(nn.Sequential(nn.MaxPool2d(2), nn.Linear(4, 2))) != network_digest(
        nn.Sequential(nn.MaxPool2d(3), nn.Linear(4, 2))
    )
