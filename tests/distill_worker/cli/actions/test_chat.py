"""The commands against a model that chats: what is bought, what a student learns from, and what is paid."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.distill_worker.cli.conftest import Command
from tests.foreign.chat_server import ForeignChat, served

CONFIG = """
data = {{name = "image-folder", path = "{folder}/photos", image_size = [8, 8], labels = "none", class_names = ["cat", "dog"]}}
student.network = "resnet8"
method.name = "kd"
budget = {{n = 6, holdout = 0}}
training = {{steps = 2, batch_size = 4, device = "cpu"}}
output = {{directory = "{folder}/run", cache = "{folder}/cache.sqlite"}}
[teacher]
protocol = "chat"
url = "{url}"
model = "eyes"
labels = {{cat = 0, dog = 1}}
price_per_call = 0.5
"""  # noqa: E501 - a table of TOML is one line


def _by_brightness(image: NDArray[np.uint8], question: str) -> tuple[str, Mapping[str, float]]:
    assert question.endswith("A: cat\nB: dog")
    bright = 0.1 + 0.8 * float(image.mean() > 127)
    tokens = {"A": 1 - bright, "B": bright}
    return max(tokens, key=tokens.__getitem__), tokens


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten dark and bright photos without labels."""
    monkeypatch.setenv("TEACHER_API_KEY", "secret")
    random, place = np.random.default_rng(0), tmp_path / "photos"
    place.mkdir()
    for index in range(10):
        pixels = random.integers(128 * (index % 2), 128 * (index % 2) + 128, (20 + index, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{index}.png")
    return tmp_path


def _write(folder: Path, url: str, **settings: Any) -> Path:
    config = folder / "run.toml"
    more = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    config.write_text(CONFIG.format(folder=folder, url=url) + more)
    return config


def test_student_learns_from_what_a_chat_says_of_unlabelled_photos(command: Command, photos: Path) -> None:
    """Each file as it is, once, for the price that was agreed to."""
    model = ForeignChat(_by_brightness)
    with served(model) as url:
        config = _write(photos, url)
        ran = command("run", config, "--yes")
        assert ran.status == 0, ran.stderr
        assert "3.00 USD" in ran.stderr
        assert command("run", config, "--yes", "--fresh").status == 0
    assert model.charged == 6
    assert {image.shape[2] for image in model.images} == {30}, "the files, not their pixels of 8x8"
    result = json.loads((photos / "run" / "result.json").read_text())
    assert (result["teacher_output"], result["calls"]) == ("top_k:2", 6)


def test_answers_without_log_probabilities_are_read_as_labels_and_not_paid_again(
    command: Command, photos: Path
) -> None:
    """Some APIs ignore that they are asked for them."""

    class Silent(ForeignChat):
        def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
            return super().answer({**request, "logprobs": False})

    model = Silent(_by_brightness)
    with served(model) as url:
        first = command("fetch", _write(photos, url), "--yes")
        assert first.status == 4
        assert 'set teacher.output = "label"' in first.stderr
        assert model.charged == 1
        ran = command("run", _write(photos, url, output="label"), "--yes")
        assert ran.status == 0, ran.stderr
    assert model.charged == 6
    assert json.loads((photos / "run" / "result.json").read_text())["teacher_output"] == "label"


def test_alias_ends_the_purchase_after_one_answer_which_counts_under_its_version(
    command: Command, photos: Path
) -> None:
    model = ForeignChat(_by_brightness, answered_as="eyes-2026-05-01")
    with served(model) as url:
        first = command("fetch", _write(photos, url), "--yes")
        assert first.status == 4
        assert "set teacher.model_version to the version in that name" in first.stderr
        ran = command("run", _write(photos, url, model_version="eyes-2026-05-01"), "--yes")
        assert ran.status == 0, ran.stderr
    assert model.charged == 6
