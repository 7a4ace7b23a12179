"""`predict` and `export` of a run that was trained here."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.distill_worker.cli.conftest import Command, facts_of


@pytest.fixture
def run(command: Command, config: Path) -> Path:
    """The directory of a finished run."""
    assert command("train", config, "--set", "method.name=ce").status == 0
    return config.parent / "run"


def test_classes_are_printed_in_columns(command: Command, run: Path, tmp_path: Path) -> None:
    """A row for each image, which starts at the same place as the heading; JSON has the same."""
    for name in ("a.png", "a long name of an image.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name)
    images = (tmp_path / "a.png", tmp_path / "a long name of an image.png")
    ended = command("predict", run, *images, "--top", 2)
    assert ended.status == 0, ended.stderr
    heading, *rows = ended.stdout.splitlines()
    assert heading.split() == ["image", "class", "1", "probability", "class", "2", "probability"]
    assert [row[: row.index("  ")] for row in rows] == [str(image) for image in images]
    facts = facts_of(command("predict", run / "student.safetensors", *images, "--top", 2, "--json"))
    for row, image in zip(rows, facts["images"], strict=True):
        first = image["top"][0]
        assert row[heading.index("class 1") :].split()[:2] == [first["name"], f"{first['probability']:.2%}"]


def test_unreadable_image_ends_the_command_with_its_name(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    ended = command("predict", run, tmp_path / "bad.png")
    assert (ended.status, ended.stdout) == (3, "")
    assert f"{tmp_path}/bad.png: expected a picture" in ended.stderr


def test_export_says_what_it_wrote_and_how_it_compares(command: Command, run: Path, tmp_path: Path) -> None:
    """Once: a second export replaces nothing. `--fresh` moves the exports aside with the run that they are of."""
    facts = facts_of(command("export", run, "--format", "safetensors", "--json"))
    assert facts == {
        "file": str(run / "export/safetensors/student.safetensors"),
        "model_card": str(run / "export/safetensors/README.md"),
        "format": "safetensors",
        "largest_difference": 0.0,
        "compared_on": "32 test images of digits",
    }
    again = command("export", run, "--format", "safetensors")
    assert (again.status, again.stdout) == (2, "")
    ended = command("export", run, "--format", "safetensors", "--output", tmp_path / "other")
    assert ended.stdout.splitlines() == [
        f"{tmp_path / 'other/student.safetensors'}: a weights file (safetensors), model card in README.md",
        "largest difference from the logits of the student: 0, on 32 test images of digits",
    ]
    assert command("train", tmp_path / "run.toml", "--set", "method.name=ce", "--fresh").status == 0
    assert not (run / "export").exists()
    assert (run / "before-1/export/safetensors/README.md").exists()


def test_evaluate_takes_a_run_directory(command: Command, run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert facts_of(command("evaluate", run, "--json"))["correct"] == result["correct"]
