"""A pickled file runs no code unless its author is trusted."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from shared.weights import WeightsError
from teacher_service.models.file_kind import FileKind
from teacher_service.models.packing.checkpoint import load_checkpoint
from tests.teacher_service.made_elsewhere import Small, small


class _Touch:
    """An object whose unpickling writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.file,)


def test_code_in_a_pickle_runs_only_when_trusted(tmp_path: Path) -> None:
    path, proof = tmp_path / "my.pth", tmp_path / "proof"
    torch.save({"state_dict": small().state_dict(), "callback": _Touch(proof)}, path)
    with pytest.raises(WeightsError, match=r"holds tensors alone, got one that also holds .*pass --trust-pickle if"):
        load_checkpoint(path, FileKind.CHECKPOINT, trust_pickle=False)
    assert not proof.exists()
    load_checkpoint(path, FileKind.CHECKPOINT, trust_pickle=True)
    assert proof.exists()


def test_first_object_that_is_not_a_tensor_is_named(tmp_path: Path) -> None:
    torch.save({"model": small().state_dict(), "args": argparse.Namespace(lr=1)}, tmp_path / "my.pth")
    with pytest.raises(WeightsError, match=r"also holds argparse\.Namespace\. Unpickling that runs code"):
        load_checkpoint(tmp_path / "my.pth", FileKind.CHECKPOINT, trust_pickle=False)


def test_whole_network_is_loaded_only_when_trusted(tmp_path: Path) -> None:
    """And taken out of the wrapper for several GPUs."""
    torch.save(nn.DataParallel(small()), tmp_path / "whole.pt")
    with pytest.raises(WeightsError, match="--trust-pickle"):
        load_checkpoint(tmp_path / "whole.pt", FileKind.CHECKPOINT, trust_pickle=False)
    assert isinstance(load_checkpoint(tmp_path / "whole.pt", FileKind.CHECKPOINT, trust_pickle=True), Small)


def test_class_in_the_current_folder_is_importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_network.py").write_text("from torch import nn\n\nclass Own(nn.Linear):\n    pass\n")
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as importable:
        importable.syspath_prepend(tmp_path)
        import own_network  # type: ignore[import-not-found]

        torch.save(own_network.Own(2, 2), tmp_path / "own.pt")
    monkeypatch.delitem(__import__("sys").modules, "own_network")
    loaded = load_checkpoint(Path("own.pt"), FileKind.CHECKPOINT, trust_pickle=True)
    assert type(loaded).__name__ == "Own"
    monkeypatch.delitem(__import__("sys").modules, "own_network")


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: torch.save([1, 2], path), "expected a state dict or a network, got list"),
        (lambda path: path.write_bytes(b"\x80\x02broken"), "cannot be loaded|holds tensors alone"),
    ],
)
def test_other_content_is_an_error(write: Callable[[Path], object], message: str, trust: bool, tmp_path: Path) -> None:
    write(tmp_path / "my.pth")
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(tmp_path / "my.pth", FileKind.CHECKPOINT, trust_pickle=trust)


def test_safetensors_are_a_state_dict(tmp_path: Path) -> None:
    state = small().state_dict()
    save_file(state, tmp_path / "my.safetensors")
    loaded = load_checkpoint(tmp_path / "my.safetensors", FileKind.TENSORS, trust_pickle=False)
    assert not isinstance(loaded, nn.Module)
    assert all(torch.equal(loaded[name], value) for name, value in state.items())
