"""`teacher-service pack` writes a file only after it answered, and ends with the commands to type."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from shared.weights import load_weights
from teacher_service.cli.command import app
from teacher_service.models import open_model
from tests.teacher_service.made_elsewhere import FACTORY, NAMES, SIZE, onnx_model, save_torchscript, small

_PREPROCESSING: Final = ("--mean", "0.5,0.4,0.3", "--std", "0.25,0.2,0.3", "--image-size", f"{SIZE[0]}x{SIZE[1]}")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a state dict, the code of its network, the names of its classes, and a picture."""
    monkeypatch.chdir(tmp_path)
    torch.save(small().state_dict(), "my.pth")
    Path("own.py").write_text(FACTORY)
    Path("names.txt").write_text("\n".join(NAMES) + "\n")
    pixels = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.jpg")
    return tmp_path


def _pack(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["pack", *arguments])


def _packed(*arguments: str) -> Result:
    """`pack` of the state dict; a later option replaces an earlier one."""
    return _pack(
        "--state-dict", "my.pth", "--network", "own.py:make", "--class-names", "names.txt", *_PREPROCESSING, *arguments
    )


def test_file_is_written_and_described(here: Path) -> None:
    ended = _packed("-o", "teacher.safetensors")
    assert ended.exit_code == 0, ended.stderr
    card, network, version = load_weights(here / "teacher.safetensors", trust_code=True)
    assert (card.network, card.class_names, card.image_size) == ("own.py:make", NAMES, SIZE)
    assert all(torch.equal(value, small().state_dict()[name]) for name, value in network.state_dict().items())
    for shown in ("teacher.safetensors", "own.py:make", "3: cat, dog, ship", "12 x 16", "0.5, 0.4, 0.3", version):
        assert shown in ended.stdout
    assert not (here / ".teacher.safetensors.part").exists()


def test_last_lines_are_the_next_commands(here: Path) -> None:
    """As they are, they start a service, with the flag for code of one's own."""
    ended = _packed("-o", "the teacher.safetensors")
    *_, keys, serve = ended.stdout.splitlines()
    for line in (keys, serve):
        assert CliRunner().invoke(app, [*shlex.split(line)[1:], "--help"]).exit_code == 0
    assert keys.split()[:3] == ["teacher-service", "keys", "create"]
    assert shlex.split(serve) == ["teacher-service", "serve", "--weights", "the teacher.safetensors", "--trust-code"]
    assert (here / "the teacher.safetensors").exists()


def test_json_has_the_card_and_what_the_picture_shows(here: Path) -> None:
    ended = _packed("--try", "photo.jpg", "--json")
    facts = json.loads(ended.stdout)
    assert facts["file"] == "my.teacher.safetensors"
    assert (facts["num_classes"], facts["mean"]) == (3, [0.5, 0.4, 0.3])
    assert facts["model_version"] == open_model(here / "my.teacher.safetensors", "cpu", trust_code=True).fingerprint
    assert {answer["name"] for answer in facts["top"]} == set(NAMES)
    assert sum(answer["probability"] for answer in facts["top"]) == pytest.approx(1)


@pytest.mark.usefixtures("here")
def test_most_probable_classes_of_a_picture_are_shown() -> None:
    ended = _packed("--try", "photo.jpg")
    rows = re.findall(r"([01]\.\d{4})\s+│\s+(cat|dog|ship)", ended.stdout)
    assert "class of photo.jpg" in ended.stdout
    assert [float(probability) for probability, _ in rows] == sorted((float(row[0]) for row in rows), reverse=True)
    assert len(rows) == 3


@pytest.mark.usefixtures("here")
def test_preset_is_changed_by_single_values() -> None:
    ended = _packed("--preprocessing", "imagenet", "--mean", "0.5", "--resize", "32", "--json")
    card = json.loads(ended.stdout)
    assert (card["mean"], card["std"], card["resize"]) == ([0.5] * 3, [0.25, 0.2, 0.3], [32, 32])


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_archive_is_served_as_the_last_line_says(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.teacher_service.made_elsewhere import save_exported

    monkeypatch.chdir(tmp_path)
    (save_torchscript if kind == "torchscript" else save_exported)(small(), tmp_path / "model.bin")
    ended = _pack("--model", "model.bin", "--class-names", "cat,dog,ship", *_PREPROCESSING, "--trust-code")
    assert ended.exit_code == 0, ended.stderr
    command = shlex.split(ended.stdout.splitlines()[-1])
    assert command[2:] == ["--weights", f"model.teacher.pt{'' if kind == 'torchscript' else '2'}", "--trust-code"]


def test_training_mode_is_an_error_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_torchscript(small().train(), tmp_path / "model.pt", traced_with=2)
    before = sorted(tmp_path.iterdir())
    ended = _pack("--model", "model.pt", *_PREPROCESSING, "--trust-code")
    assert (ended.exit_code, ended.stdout) == (3, "")
    assert "call network.eval() before the network is saved" in ended.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_no_file_is_replaced(here: Path) -> None:
    (here / "teacher.safetensors").write_text("mine")
    ended = _packed("-o", "teacher.safetensors")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "expected no file of this name, got one" in ended.stderr
    assert (here / "teacher.safetensors").read_text() == "mine"


_WRONG: Final[Mapping[str, tuple[tuple[str, ...], int, str]]] = {
    "no such file": (("--state-dict", "none.pth"), 3, "none.pth: no such weights file"),
    "names": (
        ("--class-names", "a,b"),
        2,
        "num_classes: expected one number, got 3 from the file my.pth, 2 from",
    ),
    "mean": (("--mean", "a"), 2, "mean: expected numbers separated by commas, got 'a'"),
    "scale": (
        ("--mean", "123.675,116.28,103.53", "--std", "58.395,57.12,57.375"),
        2,
        "mean: expected values of pixels from 0 to 1, got 123.675, 116.28, 103.53; divide",
    ),
    "size": (("--image-size", "big"), 2, "image_size: expected height x width"),
    "preset": (("--preprocessing", "imagenets"), 2, "did you mean 'imagenet'"),
    "network": (("--network", "resnet8"), 3, "expected the parameters of resnet8"),
    "picture": (("--try", "names.txt"), 2, "try: expected a picture, got names.txt"),
    "ending": (("-o", "x.onnx"), 2, "output: expected a name that ends in .safetensors"),
    "folder": (("-o", "none/x.safetensors"), 3, "cannot be written (No such file or directory)"),
    "classes": (("--num-classes", "1"), 2, "num-classes"),
}


@pytest.mark.parametrize("name", _WRONG)
def test_wrong_option_is_an_error_and_nothing_is_written(name: str, here: Path) -> None:
    options, status, message = _WRONG[name]
    before = sorted(here.iterdir())
    ended = _packed(*options)
    assert (ended.exit_code, ended.stdout) == (status, ""), ended.stderr
    assert message in ended.stderr
    assert sorted(here.iterdir()) == before


def test_onnx_model_keeps_its_external_data_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    onnx.save(
        onnx.load_model_from_string(onnx_model()),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="model.data",
        size_threshold=0,
    )
    arguments = ("--model", "model.onnx", "--class-names", "cat,dog,ship", *_PREPROCESSING)
    ended = _pack(*arguments, "-o", "elsewhere/teacher.onnx")
    assert ended.exit_code == 2
    assert "expected a file in the folder of model.onnx, beside model.data" in ended.stderr
    assert _pack(*arguments).exit_code == 0
    assert open_model(tmp_path / "model.teacher.onnx", "cpu").card.class_names == NAMES
