"""What students learn from, in one file that is mapped, and that no process leaves behind."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distill_worker.errors import RunError
from distill_worker.experiments.engines.inputs import Inputs, inputs_file, read_inputs
from distill_worker.runs.run_facts import identity_of
from tests.distill_worker.experiments.engines.students import Students


def test_inputs_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Samples, targets, and with them the identity of a run. Inputs on the same samples share them."""
    students = Students(tmp_path, 1)
    written = students.inputs()["all"]
    other = replace(written, bought=written.bought._replace(targets={}))
    with inputs_file(tmp_path, {"all": written, "other": other}) as path:
        read = read_inputs(path)
        assert path.stat().st_mode & 0o077 == 0
    config = students.config(0)
    assert identity_of(config, read["all"].samples, {}).values == identity_of(config, written.samples, {}).values
    assert torch.equal(read["all"].bought.targets["logits"], written.bought.targets["logits"])
    assert read["all"].bought[1:] == written.bought[1:]
    assert read["all"].samples is read["other"].samples
    assert not path.exists()


def test_file_of_a_living_process_stays(tmp_path: Path) -> None:
    with inputs_file(tmp_path, {}) as first, inputs_file(tmp_path, {}):
        assert first.exists()


def test_abandoned_file_is_removed(tmp_path: Path) -> None:
    abandoned = tmp_path / ".inputs-0.pt"
    abandoned.touch()
    with inputs_file(tmp_path, {}):
        assert not abandoned.exists()


def test_folder_that_cannot_be_made_is_named(below_a_file: Path) -> None:
    with pytest.raises(RunError, match="cannot write what the students learn from"), inputs_file(below_a_file, {}):
        pass


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device"), r"\(No space left on device\)"),
        (
            RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 1 vs 0"),
            r"\(the disk may be full\)",
        ),
    ],
)
def test_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str) -> None:
    """The second is how torch reports it."""

    def full(_inputs: dict[str, Inputs], _file: object) -> None:
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=expected), inputs_file(tmp_path, {}):
        pass
    assert list(tmp_path.iterdir()) == []
