"""A directory belongs to one run, and says what is wrong with it."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_worker.config.run_identity import RunIdentity
from distill_worker.errors import RunError
from distill_worker.training.run_directory import RunDirectory

VALUES: dict[str, Any] = {"budget": {"n": 50}, "method": {"name": "ckd", "k": 2}, "teacher_id": "t"}
OTHER_VALUES: dict[str, Any] = {**VALUES, "method": {"name": "ckd", "k": 3}}
IDENTITY = RunIdentity(VALUES, changed=VALUES)
OTHER = RunIdentity(OTHER_VALUES, changed=OTHER_VALUES)


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "one")


def _finish(directory: RunDirectory) -> None:
    with directory.opened(IDENTITY):
        directory.log({"step": 1, "loss": 2.5})
        directory.save_checkpoint({"step": 1})
        directory.finish(b"weights", {"accuracy": 0.5})


def test_finished_run_holds_what_was_run_and_how_it_went(directory: RunDirectory) -> None:
    _finish(directory)
    names = {file.name for file in directory.path.iterdir()} - {".lock"}
    assert names == {"run.json", "metrics.jsonl", "student.safetensors", "result.json"}
    described = json.loads((directory.path / "run.json").read_text())
    assert described["identity"] == VALUES
    assert described["environment"]["torch"] == torch.__version__
    assert (directory.path / "student.safetensors").read_bytes() == b"weights"


def test_same_run_may_be_opened_again_and_its_result_read(directory: RunDirectory) -> None:
    with directory.opened(IDENTITY):
        assert directory.result() is None
    _finish(directory)
    with directory.opened(IDENTITY):
        assert directory.result() == {"accuracy": 0.5}


def test_half_a_checkpoint_that_a_killed_process_left_is_removed(directory: RunDirectory) -> None:
    """Under the name of today, and under that of earlier versions."""
    directory.path.mkdir(parents=True)
    for name in (".checkpoint.part", ".checkpoint.pt.part"):
        (directory.path / name).write_bytes(b"half")
    _finish(directory)
    assert not list(directory.path.glob("*.part"))


@pytest.mark.parametrize(
    ("values", "difference"),
    [
        (OTHER_VALUES, r"method\.k: 2 in the directory, 3 now"),
        ({**VALUES, "teacher_id": "u"}, "teacher_id: 't' in the directory, 'u' now"),
        ({**VALUES, "budget": None}, r"budget: \{'n': 50\} in the directory, None now"),
        ({key: VALUES[key] for key in ("budget", "method")}, "teacher_id: 't' in the directory, not set now, .*"),
    ],
)
def test_another_run_is_refused_and_the_difference_named(
    directory: RunDirectory, values: dict[str, Any], difference: str
) -> None:
    """Nothing of the first run is touched."""
    _finish(directory)
    before = {file.name: file.read_bytes() for file in directory.path.iterdir()}
    identity = RunIdentity(values, changed=values)
    with pytest.raises(RunError, match=rf"another run \({difference}\)"), directory.opened(identity):
        pytest.fail("it was let in")
    assert {file.name: file.read_bytes() for file in directory.path.iterdir()} == before


def test_fresh_run_forgets_the_one_before(directory: RunDirectory) -> None:
    _finish(directory)
    with directory.opened(OTHER, fresh=True):
        assert directory.result() is None
        assert directory.load_checkpoint() is None
        assert {file.name for file in directory.path.iterdir()} == {".lock", "run.json"}


def test_forgetting_that_failed_half_way_mixes_nothing(directory: RunDirectory) -> None:
    """What remains of the old run must keep its name, or the next run takes the old result for its own."""
    _finish(directory)
    (directory.path / "metrics.jsonl").unlink()
    (directory.path / "metrics.jsonl").mkdir()
    with pytest.raises(RunError, match="cannot write"), directory.opened(OTHER, fresh=True):
        pytest.fail("it was not cleared")
    with pytest.raises(RunError, match="another run"), directory.opened(OTHER):
        assert directory.result() is None


def test_two_at_once_are_refused(directory: RunDirectory) -> None:
    """And the directory is free again when the first has ended, even badly."""
    with suppress(KeyboardInterrupt), directory.opened(IDENTITY):
        again = RunDirectory(directory.path).opened(IDENTITY)
        with pytest.raises(RunError, match="another process is training"), again:
            pytest.fail("it was let in")
        raise KeyboardInterrupt
    with directory.opened(IDENTITY):
        pass


def test_checkpoint_comes_back_as_it_was(directory: RunDirectory) -> None:
    with directory.opened(IDENTITY):
        assert directory.load_checkpoint() is None
        for step in (1, 2):
            directory.save_checkpoint({"step": step, "tensor": torch.tensor([0.1, float("nan")])})
        (directory.path / ".checkpoint.pt.part").write_bytes(b"what a killed process left")
        state = directory.load_checkpoint()
    assert state is not None
    assert state["step"] == 2
    assert state["tensor"].numpy().tobytes() == torch.tensor([0.1, float("nan")]).numpy().tobytes()


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[: len(raw) // 2], lambda _: b"", lambda _: b"not a checkpoint at all"],
    ids=["half", "empty", "garbage"],
)
def test_damaged_checkpoint_is_named(directory: RunDirectory, damage: Callable[[bytes], bytes]) -> None:
    """In one line, whatever torch has to say of it."""
    with directory.opened(IDENTITY):
        directory.save_checkpoint({"tensor": torch.zeros(1000)})
        path = directory.path / "checkpoint.pt"
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(RunError, match=r"checkpoint\.pt: .*delete it to start again"):
            directory.load_checkpoint()


@pytest.mark.parametrize("name", ["run.json", "result.json"])
@pytest.mark.parametrize("content", [b'{"half', b"\xff\xfe"])
def test_damaged_description_is_named(directory: RunDirectory, name: str, content: bytes) -> None:
    _finish(directory)
    (directory.path / name).write_bytes(content)
    with pytest.raises(RunError, match=rf"{name}: cannot be read"), directory.opened(IDENTITY):
        directory.result()


def test_metrics_after_a_step_are_forgotten_and_torn_lines_with_them(directory: RunDirectory) -> None:
    with directory.opened(IDENTITY):
        directory.drop_metrics_after(0)
        for step in (1, 2, 3):
            directory.log({"step": step})
        with (directory.path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 1')
        directory.drop_metrics_after(2)
    assert (directory.path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'


def test_unwritable_place_is_named(below_a_file: Path) -> None:
    with pytest.raises(RunError, match=f"{below_a_file}.*cannot write"), RunDirectory(below_a_file).opened(IDENTITY):
        pytest.fail("there is no such place")
