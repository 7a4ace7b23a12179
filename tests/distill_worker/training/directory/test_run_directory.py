"""A directory belongs to one run, and says what is wrong with it."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import EROFS
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_worker.config.run_identity import RunIdentity
from distill_worker.errors import RunError
from distill_worker.training.directory import run_directory
from distill_worker.training.directory.run_directory import RunDirectory

ROOT = Path(__file__).parents[4]
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


def test_half_a_file_that_a_killed_process_left_is_removed(directory: RunDirectory) -> None:
    """A checkpoint under the name of today, and under that of earlier versions; and any other file of a run.

    Files of others stay.
    """
    directory.path.mkdir(parents=True)
    (directory.path / ".film.mkv.part").write_bytes(b"half")
    for name in (".checkpoint.part", ".checkpoint.pt.part", ".student.safetensors.part", ".metrics.jsonl.part"):
        (directory.path / name).write_bytes(b"half")
    _finish(directory)
    assert [path.name for path in directory.path.glob("*.part")] == [".film.mkv.part"]


def test_finished_run_is_read_where_nothing_can_be_written(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk or a read-only mount, which a failing write stands for; the run in training needs no lock."""
    _finish(directory)
    (directory.path / ".lock").unlink()

    def fail(*_: object, **__: object) -> None:
        raise OSError(EROFS, "read-only")

    monkeypatch.setattr(run_directory, "TemporaryFile", fail)
    directory.check(IDENTITY)
    assert directory.result_of(IDENTITY) == {"accuracy": 0.5}
    assert directory.result_of(OTHER) is None
    assert not (directory.path / ".lock").exists()


@pytest.mark.parametrize("state", [[1], "text", 1.5])
def test_file_of_torch_that_is_no_checkpoint_is_named(directory: RunDirectory, state: object) -> None:
    directory.path.mkdir(parents=True)
    torch.save(state, directory.path / "checkpoint.pt")
    with pytest.raises(RunError, match=r"checkpoint\.pt: expected a checkpoint, got another file; delete it"):
        directory.load_checkpoint()


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


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


def test_fresh_run_moves_the_one_before_aside_and_says_where(directory: RunDirectory) -> None:
    """Again and again: each earlier run stays, whole, with its student."""
    for number in (1, 2, 3):
        before = _files(directory.path) if directory.path.exists() else {}
        notes: list[str] = []
        with directory.opened(OTHER, fresh=True, note=notes.append):
            assert directory.result() is None
            assert directory.load_checkpoint() is None
            assert _files(directory.path).keys() == {"run.json"}
            directory.log({"step": number})
            directory.finish(f"weights {number}".encode(), {"accuracy": number / 10})
        if number > 1:
            kept = directory.path / f"before-{number - 1}"
            assert _files(kept) == before
            assert [str(kept) in note for note in notes] == [True]


def test_fresh_run_keeps_the_checkpoint_of_an_unfinished_one(directory: RunDirectory) -> None:
    with directory.opened(IDENTITY):
        directory.save_checkpoint({"step": 7})
    with directory.opened(IDENTITY, fresh=True):
        assert directory.load_checkpoint() is None
    kept = RunDirectory(directory.path / "before-1").load_checkpoint()
    assert kept == {"step": 7}


def test_saved_selections_stay_where_they_are_under_a_fresh_run(directory: RunDirectory) -> None:
    """They have been paid for."""
    _finish(directory)
    selection = directory.path / "rounds" / "0001.json"
    selection.parent.mkdir()
    selection.write_text("samples")
    with directory.opened(OTHER, fresh=True):
        assert selection.read_text() == "samples"


_KILLED_MOVES = """
import os, signal, sys
from pathlib import Path
from tests.distill_worker.training.directory.test_run_directory import OTHER
from distill_worker.training.directory.run_directory import RunDirectory

def die_after(changes):
    def dying(change):
        def step(path, *arguments, **options):
            nonlocal changes
            change(path, *arguments, **options)
            changes -= ".lock" not in path.name and path.name != folder.name
            if changes == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return step
    Path.rename, Path.mkdir = dying(Path.rename), dying(Path.mkdir)

for number, name in enumerate(sys.argv[2:]):
    folder = Path(name)
    if (child := os.fork()) == 0:
        die_after(number % int(sys.argv[1]) + 1)
        with RunDirectory(folder).opened(OTHER, fresh=True):
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


def test_move_that_was_killed_anywhere_is_ended_by_the_next_process(tmp_path: Path) -> None:
    """SIGKILL after each change of the disk: no file is lost, and no run gets the result of another."""
    changes = 6  # the folder is made, four files are moved, the folder gets its name
    directories = [RunDirectory(tmp_path / str(number)) for number in range(2 * changes)]
    for directory in directories:
        _finish(directory)
    before = [_files(directory.path) for directory in directories]
    paths = [str(directory.path) for directory in directories]
    subprocess.run([sys.executable, "-c", _KILLED_MOVES, str(changes), *paths], check=True, cwd=ROOT)
    for directory, files, identity in zip(directories, before, [IDENTITY] * changes + [OTHER] * changes, strict=True):
        with directory.opened(identity):
            assert directory.result() is None
            assert _files(directory.path).keys() == {"run.json"}
            assert _files(directory.path / "before-1") == files


def test_run_without_checkpoint_or_result_gives_its_directory_to_another(directory: RunDirectory) -> None:
    """A first try that failed must not block the mended file."""
    with directory.opened(IDENTITY):
        directory.log({"step": 1})
    with directory.opened(OTHER):
        assert _files(directory.path).keys() == {"run.json"}
    assert json.loads((directory.path / "run.json").read_text())["identity"] == OTHER_VALUES


@pytest.mark.parametrize("content", [b'{"half', b"\0\0", b"[]", b"{}"])
def test_damaged_description_of_a_run_without_progress_blocks_none(directory: RunDirectory, content: bytes) -> None:
    directory.path.mkdir(parents=True)
    (directory.path / "run.json").write_bytes(content)
    with directory.opened(IDENTITY):
        assert json.loads((directory.path / "run.json").read_text())["identity"] == VALUES


def test_student_without_a_result_is_kept_when_its_directory_goes_to_another(directory: RunDirectory) -> None:
    """Its process was killed before the last file was written."""
    _finish(directory)
    (directory.path / "result.json").unlink()
    with directory.opened(OTHER):
        assert _files(directory.path).keys() == {"run.json"}
    assert (directory.path / "before-1" / "student.safetensors").read_bytes() == b"weights"


def test_result_without_a_description_is_not_returned_as_this_runs(directory: RunDirectory) -> None:
    _finish(directory)
    (directory.path / "run.json").unlink()
    with pytest.raises(RunError, match=r"another run .*cannot be read"), directory.opened(IDENTITY):
        pytest.fail("it was let in")


def test_check_says_the_same_and_changes_nothing(directory: RunDirectory) -> None:
    """Before a purchase, also while some values are not known yet."""
    _finish(directory)
    before = _files(directory.path)
    known = {name: VALUES[name] for name in ("budget", "method")}
    directory.check(RunIdentity(known, changed=known))
    directory.check(OTHER, fresh=True)
    with pytest.raises(RunError, match=r"method\.k: 2 in the directory, 3 now"):
        directory.check(OTHER)
    assert _files(directory.path) == before


def test_check_makes_nothing_and_lets_a_purchase_go_on_beside_a_training(directory: RunDirectory) -> None:
    """One that only buys checks the run alone; one that will train checks that none trains, too."""
    directory.check(IDENTITY)
    directory.check_idle()
    assert not directory.path.parent.exists()
    with directory.opened(IDENTITY):
        directory.check(IDENTITY)
        with pytest.raises(RunError, match="another process is training"):
            directory.check_idle()
    directory.check_idle()


def test_check_may_leave_a_setting_open(directory: RunDirectory) -> None:
    """More samples are bought beside a finished run; any other difference counts."""
    _finish(directory)
    more, other = ({**values, "budget": {"n": 60}} for values in (VALUES, OTHER_VALUES))
    directory.check(RunIdentity(more, changed=more).without("budget", "n"))
    with pytest.raises(RunError, match=r"budget\.n: 50 in the directory, 60 now"):
        directory.check(RunIdentity(more, changed=more))
    with pytest.raises(RunError, match=r"\(method\.k: 2 in the directory, 3 now\)"):
        directory.check(RunIdentity(other, changed=other).without("budget", "n"))


def test_move_that_fails_mixes_nothing(directory: RunDirectory) -> None:
    """What remains of the old run keeps its name, or the next run would take the old result for its own."""
    _finish(directory)
    (directory.path / ".before").write_bytes(b"in the way")
    with pytest.raises(RunError, match="cannot write"), directory.opened(OTHER, fresh=True):
        pytest.fail("it was not moved")
    (directory.path / ".before").unlink()
    with pytest.raises(RunError, match="another run"), directory.opened(OTHER):
        pytest.fail("it was let in")


def test_facts_that_an_earlier_version_left_out_are_added_when_the_run_resumes(directory: RunDirectory) -> None:
    """And not to a finished run: whether they were the same then is unknown."""
    later = IDENTITY.with_later_facts({"test_labels": "a"})
    with directory.opened(IDENTITY):
        directory.save_checkpoint({"step": 1})
    with directory.opened(later):
        assert directory.load_checkpoint() == {"step": 1}
    assert json.loads((directory.path / "run.json").read_text())["identity"] == later.values
    with (
        pytest.raises(RunError, match="the labels of the test images have changed: digest a in the directory, b now"),
        directory.opened(IDENTITY.with_later_facts({"test_labels": "b"})),
    ):
        pytest.fail("it was let in")


def test_finished_run_of_an_earlier_version_is_returned(directory: RunDirectory) -> None:
    _finish(directory)
    before = _files(directory.path)
    with directory.opened(IDENTITY.with_later_facts({"test_labels": "a"})):
        assert directory.result() == {"accuracy": 0.5}
    assert _files(directory.path) == before


def test_run_that_resumes_with_another_torch_says_so(directory: RunDirectory) -> None:
    with directory.opened(IDENTITY):
        directory.save_checkpoint({"step": 1})
    path = directory.path / "run.json"
    path.write_text(path.read_text().replace(torch.__version__, "1.0"))
    notes: list[str] = []
    with directory.opened(IDENTITY, note=notes.append):
        pass
    assert [f"torch 1.0 and resumes with {torch.__version__}" in note for note in notes] == [True]


_FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from distill_worker.errors import RunError
from distill_worker.training.directory.run_directory import RunDirectory
from tests.distill_worker.training.directory.test_run_directory import IDENTITY

directory = RunDirectory(Path(sys.argv[1]))
with directory.opened(IDENTITY):
    directory.save_checkpoint({"step": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    large = {"tensor": torch.zeros(100_000)}
    for write in (
        lambda: directory.save_checkpoint(large),
        lambda: directory.finish(bytes(100_000), {}),
        lambda: directory.log({"step": 2, "text": "x" * 100_000}),
    ):
        try:
            write()
        except RunError as error:
            print(error)
"""


def test_full_disk_is_named_in_one_line_and_half_files_do_not_keep_it_full(directory: RunDirectory) -> None:
    """The limit of a file's size stands for the full disk. The checkpoint before stays."""
    command = [sys.executable, "-c", _FULL_DISK, str(directory.path)]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert ended.stderr == ""
    assert ended.stdout.count("cannot write to it (File too large); free some space") == 3, ended.stdout
    assert _files(directory.path).keys() == {"run.json", "checkpoint.pt", "metrics.jsonl"}
    assert directory.load_checkpoint() == {"step": 1}
    with directory.opened(IDENTITY):
        directory.log_after(1)
    assert (directory.path / "metrics.jsonl").read_bytes() == b""


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


BAD_LINES = {
    "torn": b'{"step": 1',
    "of another kind": b"[1, 2]",
    "a number": b"7",
    "without a step": b'{"loss": 1}',
    "with a step that is no number": b'{"step": "1"}',
    "not UTF-8": b"\xff\xfe\xfd",
    "not JSON": b"Traceback (most recent call last):",
    "NUL bytes": b"\0" * 50,
    "deep": b"[" * 100_000,
    "empty": b"",
}


@pytest.mark.parametrize("bad", BAD_LINES.values(), ids=BAD_LINES)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_bad_line_of_metrics_is_dropped_and_the_good_ones_stay(directory: RunDirectory, bad: bytes, place: int) -> None:
    good = [b'{"step": 1}', b'{"step": 2, "loss": NaN}']
    directory.path.mkdir(parents=True)
    path = directory.path / "metrics.jsonl"
    path.write_bytes(b"\n".join([*good[:place], bad, *good[place:]]))
    directory.log_after(2)
    assert path.read_bytes() == b"".join(line + b"\n" for line in good)


def test_metrics_after_a_step_are_dropped_and_one_behind_nul_bytes_stays(directory: RunDirectory) -> None:
    with directory.opened(IDENTITY):
        directory.log_after(0)
        for step in (1, 2, 3):
            directory.log({"step": step})
        path = directory.path / "metrics.jsonl"
        path.write_bytes(b"\0\0" + path.read_bytes())
        directory.log_after(2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_unwritable_place_is_named(below_a_file: Path) -> None:
    with pytest.raises(RunError, match=f"{below_a_file}.*cannot write"), RunDirectory(below_a_file).opened(IDENTITY):
        pytest.fail("there is no such place")
