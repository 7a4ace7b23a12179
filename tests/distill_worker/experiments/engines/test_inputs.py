"""What students learn from, in one file that is mapped, and that no process leaves behind."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distill_worker.data.datasets import load_dataset
from distill_worker.errors import RunError
from distill_worker.experiments.engines.inputs import Inputs, inputs_file, read_inputs
from distill_worker.runs.run_facts import identity_of
from distill_worker.runs.sampling.samples import Samples
from tests.distill_worker.data.datasets.files import pixels, write_png
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


@pytest.mark.parametrize("keeps", [True, False])
def test_images_of_a_folder_are_written_without_their_files(keeps: bool, tmp_path: Path) -> None:
    """Those of the test part, too. On another machine, the identity needs no store."""
    for number, part in enumerate(("train/a", "train/b", "test/a", "test/b")):
        for row, values in enumerate(pixels(number, 16, 8, 8, 3)):
            write_png(tmp_path / "photos" / part / f"{row}.png", values)
    students, store = Students(tmp_path, 1), tmp_path / "decoded" if keeps else None
    dataset = load_dataset("image-folder", tmp_path, path=tmp_path / "photos", store=store)
    written = replace(students.inputs()["all"], samples=Samples.among(dataset, students.config(0)))
    before = dataset.test.digest()
    shutil.rmtree(tmp_path / "decoded", ignore_errors=True)
    with inputs_file(tmp_path, {"all": written}) as path:
        read = read_inputs(path)["all"].samples
    assert torch.equal(read.dataset.test.images, dataset.test.images)
    assert read.dataset.test.digest() == before
    assert (read.keys, read.dataset.train.files, read.dataset.test.files) == (written.samples.keys, None, None)


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
