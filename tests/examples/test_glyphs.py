"""The characters of examples/glyphs: which faces are used, how families are divided, and a file that is repeatable."""

import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFont

from distill_worker.data.datasets.npz import npz

SCRIPT = Path(__file__).parents[2] / "examples" / "glyphs" / "make_data.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The functions of the script, for few characters, all of which Pillow's own font has."""
    functions = runpy.run_path(str(SCRIPT))
    few: dict[str, Any] = {"CHARACTERS": "ABe7", "IMAGES_A_CLASS": {"train": 6, "test": 3}}
    for name, value in few.items():
        monkeypatch.setitem(functions["main"].__globals__, name, value)
    return functions


@pytest.fixture
def fonts(tmp_path: Path) -> Path:
    """A folder with two families as packages install them, both with Pillow's own font."""
    face = ImageFont.load_default(20)
    assert isinstance(face, ImageFont.FreeTypeFont)
    for place in ("truetype/one/a.ttf", "truetype/one/b.ttf", "opentype/two/deeper/c.otf"):
        path = tmp_path / "fonts" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(face.font_bytes)
    (tmp_path / "fonts/truetype/one/damaged.ttf").write_bytes(b"no font")
    return tmp_path / "fonts"


def _written(script: dict[str, Any], fonts: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(sys, "argv", ["make_data.py", "--fonts", str(fonts), "--output", str(output)])
    script["main"]()
    return output.read_bytes()


def test_characters_are_96_of_which_none_differ_by_size_alone() -> None:
    characters = runpy.run_path(str(SCRIPT))["CHARACTERS"]
    assert len(characters) == len(set(characters)) == 96
    for letter in "ckopsuvwxz":
        assert letter not in characters, f"{letter.upper()} is there"


def test_same_fonts_give_the_same_file_which_is_a_data_set(
    script: dict[str, Any],
    fonts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Wherever the fonts are."""
    first = _written(script, fonts, tmp_path / "first.npz", monkeypatch)
    shown = capsys.readouterr().out
    assert "train: 24 images of 4 classes in " in shown
    assert "sha256 " in shown
    moved = tmp_path / "moved"
    shutil.move(fonts, moved)
    assert _written(script, moved, tmp_path / "second.npz", monkeypatch) == first
    dataset = npz(tmp_path / "first.npz")
    assert dataset.class_names == ("A", "B", "e", "7")
    assert (tuple(dataset.train.images.shape), tuple(dataset.test.images.shape)) == ((24, 1, 28, 28), (12, 1, 28, 28))
    assert dataset.train.needed_labels.bincount().tolist() == [6] * 4


def test_no_family_is_in_both_splits_and_a_further_one_moves_few_others(script: dict[str, Any]) -> None:
    families: dict[str, list[Path]] = {f"family {number}": [] for number in range(16)}
    parts = script["divided"](families)
    assert set(parts["train"]) | set(parts["test"]) == set(families)
    assert (len(parts["train"]), len(parts["test"])) == (12, 4)
    for name in parts["train"]:
        fewer = script["divided"]({other: [] for other in families if other != name})
        assert set(fewer["test"]) < set(parts["test"]), "a quarter of 15 is 3"


def test_face_needs_every_character_in_a_shape_of_its_own(
    script: dict[str, Any], fonts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow's own font has no Greek letters; it draws a space as nothing."""
    face = fonts / "truetype/one/a.ttf"
    assert script["has_all_characters"](face)
    assert not script["has_all_characters"](face.with_name("damaged.ttf"))
    for characters in ("AΞ", "A ", "AA"):
        monkeypatch.setitem(script["main"].__globals__, "CHARACTERS", characters)
        assert not script["has_all_characters"](face), characters


def test_folder_without_such_fonts_is_an_error(
    script: dict[str, Any],
    fonts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.rmtree(fonts / "opentype")
    with pytest.raises(SystemExit):
        _written(script, fonts, tmp_path / "none.npz", monkeypatch)
    assert "expected two families or more that have all characters, got 1 in" in capsys.readouterr().err


@pytest.mark.parametrize("character", ["A", "e", "7", "W"])
def test_character_is_in_the_middle_in_the_size_of_all_others(script: dict[str, Any], character: str) -> None:
    image = script["drawn"](ImageFont.load_default(96), character)
    left, top, right, bottom = image.getbbox()
    assert max(right - left, bottom - top) == pytest.approx(0.7 * image.width, abs=5)
    assert (left + right) / 2 == pytest.approx(image.width / 2, abs=3)
    assert (top + bottom) / 2 == pytest.approx(image.height / 2, abs=3)


def test_transformed_image_is_a_turned_and_shifted_one(script: dict[str, Any]) -> None:
    """A square in the middle stays near the middle, and no smaller than 0.75 of its side."""
    side = 112
    square = Image.new("L", (side, side))
    square.paste(255, (28, 28, 84, 84))
    for seed in range(20):
        image = script["transformed"](square, np.random.default_rng(seed))
        assert (image.shape, image.dtype) == ((28, 28), np.uint8)
        rows, columns = np.nonzero(image > 127)
        assert abs(rows.mean() - 13.5) < 2.6
        assert abs(columns.mean() - 13.5) < 2.6
        assert 0.74**2 * 14**2 - 12 < len(rows) < 1.11**2 * 14**2 + 12
