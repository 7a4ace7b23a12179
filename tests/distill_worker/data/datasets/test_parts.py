"""Which files and folders are the training part, and which the test part."""

from pathlib import Path

import pytest

from distill_worker.data.datasets.parts import shards, train_and_test
from distill_worker.errors import DataError


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["train-1.x", "train-0.x", "test-0.x"], [["train-0.x", "train-1.x"], ["test-0.x"]]),
        (["data/train_0.x", "data/valid.x", "data/test.x"], [["data/train_0.x"], ["data/test.x"]]),
        (["default/train/0.x", "default/validation/0.x"], [["default/train/0.x"], ["default/validation/0.x"]]),
        (["b.x", "a.x"], [["a.x", "b.x"]]),
        (["train-0.x"], [["train-0.x"]]),
        (["Training.x", "VAL.x"], [["Training.x"], ["VAL.x"]]),
        (["trainer.x"], [["trainer.x"]]),  # a longer word is no part
    ],
)
def test_files_belong_to_the_part_that_names_them(names: list[str], parts: list[list[str]], tmp_path: Path) -> None:
    for name in [*names, "notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = shards(tmp_path, ".x", where="here")
    assert [[str(file.relative_to(tmp_path)) for file in part] for part in found] == parts


@pytest.mark.parametrize("names", [["test"], ["train", ""], ["train", "training", "test"], ["train", "test", "other"]])
def test_other_parts_are_refused(names: list[str]) -> None:
    with pytest.raises(DataError, match=r"^here: expected the parts train and test"):
        train_and_test(dict.fromkeys(names, 0), where="here")
