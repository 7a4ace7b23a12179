"""The commands against a vendor whose answers need a mended table: what is shown, and that each image is paid once."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from distill_worker.cache import Cache
from distill_worker.config.load import load_config
from distill_worker.runs.sampling.samples import Samples
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.purchases import intend
from tests.foreign.labelled_scores_server import ForeignScores, served

CONFIG = """
data = {{name = "image-folder", path = "{folder}/pets", image_size = [8, 8]}}
student.network = "resnet8"
method.name = "kd"
budget.n = 6
training = {{steps = 2, batch_size = 4, device = "cpu"}}
output = {{directory = "{folder}/run", cache = "{folder}/cache.sqlite"}}
[teacher]
protocol = "labelled-scores"
url = "{url}"
top_k = 2
price_per_call = 0.5
labels = {labels}
"""
UNMENDED, MENDED = "{kitten = 0, dog = 1}", "{cat = 0, dog = 1}"


def _pictures(folder: Path) -> None:
    random = np.random.default_rng(0)
    for part, number in (("train", 5), ("test", 2)):
        for label, brightness in (("cat", 0), ("dog", 128)):
            place = folder / "pets" / part / label
            place.mkdir(parents=True)
            for index in range(number):
                pixels = random.integers(brightness, brightness + 128, (20 + index, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{index}.png")


def test_unreadable_answer_from_its_purchase_to_the_student(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pictures(tmp_path)
    monkeypatch.setenv("TEACHER_API_KEY", "secret")
    images: Counter[tuple[int, ...]] = Counter()

    def predict(image: NDArray[np.uint8]) -> NDArray[np.float64]:
        images[image.shape] += 1
        return _by_brightness(image)

    model, config = ForeignScores(predict, labels=("cat", "dog")), tmp_path / "run.toml"
    with served(model) as url:

        def write(labels: str) -> None:
            config.write_text(CONFIG.format(folder=tmp_path, url=url, labels=labels))

        write(UNMENDED)
        fetched = command("fetch", config, "--yes")
        assert fetched.status == 4
        assert "sends your own files, as they are" in fetched.stderr
        assert "expected a label of [teacher.labels], got 'cat'" in fetched.stderr
        assert "it is kept and not bought again" in fetched.stderr
        planned = command("plan", config)
        assert planned.status == 5
        assert "paid, but not readable: " in planned.stdout
        again = command("fetch", config, "--yes")
        assert (again.status, model.charged) == (5, 1)
        assert "Nothing was spent now" in again.stderr
        stats = command("cache", "stats", tmp_path / "cache.sqlite")
        assert "1 sample paid for" in stats.stdout
        assert "paid, with kept answers that cannot be read: 1 sample" in stats.stdout
        assert command("cache", "verify", tmp_path / "cache.sqlite").status == 0
        write(MENDED)
        facts = facts_of(command("plan", config, "--json"))
        assert (facts["cached"], facts["to_buy"], facts["unread"]) == (1, 5, {})
        assert model.charged == 1
        ran = command("run", config, "--yes")
        assert ran.status == 0, ran.stderr
        assert model.charged == 6
        assert facts_of(command("plan", config, "--set", "teacher.top_k=1", "--json"))["to_buy"] == 0
    assert all(height >= 20 and width == 30 for _, height, width in images), "the files, not their pixels of 8x8"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["teacher_output"] == "top_k:2"


def test_outputs_that_were_bought_for_the_pixels_are_not_bought_again_without_a_word(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As earlier versions bought them."""
    _pictures(tmp_path)
    monkeypatch.setenv("TEACHER_API_KEY", "secret")
    model, config = ForeignScores(lambda _: np.array([0.75, 0.25]), labels=("cat", "dog")), tmp_path / "run.toml"
    with served(model) as url:
        text = CONFIG.format(folder=tmp_path, url=url, labels=MENDED).replace("price_per_call = 0.5\n", "")
        config.write_text(text)
        pixels = ("--set", "teacher.send=pixels")
        assert command("fetch", config, *pixels, "--max-calls", "2").status == 0
        planned = command("plan", config)
        assert 'With teacher.send = "pixels"' in planned.stdout + planned.stderr
        assert command("fetch", config).status == 5
        assert model.charged == 2
        assert facts_of(command("plan", config, *pixels, "--json"))["cached"] == 2


def test_same_file_is_paid_once_in_any_size_of_the_student(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pictures(tmp_path)
    monkeypatch.setenv("TEACHER_API_KEY", "secret")
    model, config = ForeignScores(_by_brightness, labels=("cat", "dog")), tmp_path / "run.toml"
    larger = ("--set", "data.image_size=[16,16]", "--set", "budget.n=10")
    with served(model) as url:
        config.write_text(CONFIG.format(folder=tmp_path, url=url, labels=MENDED))
        assert command("fetch", config, "--yes").status == 0
        for _ in range(2):
            facts = facts_of(command("plan", config, *larger, "--json"))
            assert (facts["cached"], facts["to_buy"]) == (6, 4)
        assert command("run", config, *larger, "--yes").status == 0
        assert model.charged == 10
        assert facts_of(command("plan", config, *larger, "--set", "teacher.top_k=1", "--json"))["to_buy"] == 0
    assert command("cache", "verify", tmp_path / "cache.sqlite").status == 0


def test_part_of_a_purchase_prints_how_many_outputs_are_cached(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without samples that may have been charged and are left alone."""
    _pictures(tmp_path)
    monkeypatch.setenv("TEACHER_API_KEY", "secret")
    model, config = ForeignScores(_by_brightness, labels=("cat", "dog")), tmp_path / "run.toml"
    with served(model) as url:
        config.write_text(CONFIG.format(folder=tmp_path, url=url, labels=MENDED))
        assert "2 outputs of" in command("fetch", config, "--max-calls", "2").stdout
        facts = facts_of(command("plan", config, "--json"))
        *_, last = Samples.of(load_config(config)).wanted
        with Cache(tmp_path / "cache.sqlite") as cache:
            intend(cache, cache.order(facts["teacher_id"], facts["kinds"]), [last], payer="alice")
        part = command("fetch", config, "--max-calls", "2")
        assert part.stdout.startswith("4 outputs of"), part.stdout
        assert part.stdout.endswith("2 bought now; 1 to buy later\n")
        run = command("run", config, "--max-calls", "0")
        assert "expected all 6 outputs in the cache before a student is trained, got 4" in run.stderr
        assert [command("fetch", config, "--max-calls", "2").status for _ in range(2)] == [4, 4]
    assert model.charged == 5


@pytest.mark.parametrize("options", [(), ("--held",)])
def test_training_uses_the_outputs_under_the_present_labels(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Kept answers are read again; outputs under other labels train only a run that names them."""
    _pictures(tmp_path)
    monkeypatch.setenv("TEACHER_API_KEY", "secret")
    model, config = ForeignScores(_by_brightness, labels=("A", "B")), tmp_path / "run.toml"
    with served(model) as url:
        swapped, right = "{A = 1, B = 0}", "{A = 0, B = 1}"
        config.write_text(CONFIG.format(folder=tmp_path, url=url, labels=swapped))
        assert command("fetch", config, "--yes", "--set", "teacher.expect_agreement=false").status == 0
        config.write_text(CONFIG.format(folder=tmp_path, url=url, labels=right))
        right_id = facts_of(command("plan", config, "--json"))["teacher_id"]
    trained = command("train", config, *options)
    assert trained.status == 0, trained.stderr
    assert "warning" not in trained.stderr, "it learns from a teacher that agrees with the labels"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["teacher_id"] == right_id
    assert model.charged == 6


@pytest.mark.parametrize("options", [(), ("--held",)])
def test_outputs_of_another_teacher_train_a_run_only_by_name(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    _pictures(tmp_path)
    monkeypatch.setenv("TEACHER_API_KEY", "secret")
    model, config = ForeignScores(_by_brightness, labels=("cat", "dog")), tmp_path / "run.toml"
    with served(model) as url:
        config.write_text(CONFIG.format(folder=tmp_path, url=url, labels=MENDED))
        assert command("fetch", config, "--yes").status == 0
        bought_id = facts_of(command("plan", config, "--json"))["teacher_id"]
    other = (*options, "--set", "teacher.model=other")
    missing = command("train", config, *other)
    assert missing.status == 3
    assert "name another teacher that is in the cache with --teacher-id" in missing.stderr
    assert command("train", config, *other, "--teacher-id", bought_id).status == 0


def _by_brightness(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.array([0.25, 0.73]) if image.mean() > 128 else np.array([0.75, 0.24])
