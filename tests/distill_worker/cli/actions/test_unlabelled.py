"""A folder of unlabelled images and a URL: from nothing to a student that is compared with its teacher."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from distill_worker.cli.stated_run import StatedRun
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher
from tests.foreign import labelled_scores_server, oip_server
from tests.foreign.labelled_scores_server import ForeignScores
from tests.foreign.oip_server import ForeignModel

_WITH_PASSWORD = "https://me:secret@host/path"
SMALL = ("--set", "training.steps=4", "--set", "training.batch_size=8", "--set", "training.device=cpu")
QUERIED = ("--set", "track=queried")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixty grey images of 8x8, side by side, with a note beside them."""
    random, folder = np.random.default_rng(0), tmp_path / "photos"
    folder.mkdir()
    for number in range(60):
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{number}.png")
    (folder / "about.txt").write_text("my photos")
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, where a run without a file puts its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folder_and_url_are_enough(command: Command, photos: Path, teacher: FakeTeacher, here: Path) -> None:
    """Classes come from the teacher; the second time, everything is there. The URL is that of TEACHER_URL."""
    options = ("--data", photos, "--teacher-url", "http://127.0.0.1:1", "--n", 20, *SMALL)
    planned = facts_of(command("plan", *options, "--json"))
    assert (planned["to_buy"], planned["later"], teacher.paid) == (10, 10, 0)
    ended = command("run", *options, "--json")
    result = facts_of(ended)
    assert teacher.paid == 20
    assert (result["calls"], result["n"], result["labels"], result["network"]) == (20, 20, "none", "resnet8x4")
    assert (result["accuracy"], result["correct"], result["test_samples"]) == (None, None, 0)
    fidelity = result["fidelity"]
    assert (fidelity["measured_on"], fidelity["samples"]) == ("cross-fitted", 20)
    assert 0 <= fidelity["agreement_interval"][0] <= fidelity["agreement"] <= fidelity["agreement_interval"][1] <= 1
    for line in (
        "data: 60 images without labels; the student learns from the teacher alone, and its classes are '0', '1',",
        "5 further students are trained without a fifth of the samples each, and compared with the teacher on it",
        "skipped files that are not read: 1 .txt",
    ):
        assert line in ended.stderr
    page = (here / "runs" / "photos-20" / "report.html").read_text(encoding="utf-8")
    assert "have their teacher&#39;s likeliest class for" in page or "have their teacher's likeliest class for" in page
    again = command("run", *options)
    assert teacher.paid == 20
    assert "agrees with its teacher on" in again.stdout
    assert "track unlabelled-pool, unlabelled, n = 20" in again.stdout


def test_what_is_made_of_the_student_afterwards(
    command: Command, photos: Path, teacher: FakeTeacher, here: Path
) -> None:
    ended = command(
        "run", "--data", photos, "--teacher-url", "http://127.0.0.1:1", "--n", 20, "--student", "resnet8", *SMALL,
        "--set", "budget.holdout=5", *QUERIED, "--set", "budget.rounds=1",
    )  # fmt: skip
    assert ended.status == 0, ended.stderr
    assert "of 5 bought samples, held-out (95 % interval" in ended.stdout
    run = here / "runs" / "photos-20"
    analysis = facts_of(command("analyse", run, "--path", photos, "--json"))
    assert {"spectrum", "fidelity", "disputed"} <= analysis.keys()
    assert not {"test", "calibration", "confusion", "class_accuracy", "errors", "sharpness"} & analysis.keys()
    assert analysis["fidelity"]["bought"]["samples"] == 15, "those that it was trained on"
    assert command("analyse", run, "--path", photos).status == 0
    of_held_out = "which the student was not trained on"
    for file_format, said in (("markdown", of_held_out), ("csv", "held-out agreement,0.0"), ("html", of_held_out)):
        written = command("report", run, "--path", photos, "--format", file_format, "--output", here / "page")
        assert written.status == 0, written.stderr
        assert said in (here / "page").read_text(encoding="utf-8")
    predicted = facts_of(command("predict", run, photos / "1.png", "--json"))
    assert predicted["images"][0]["top"][0]["name"] in {str(label) for label in range(10)}
    card = command("export", run, "--format", "safetensors")
    assert card.status == 0, card.stderr
    assert "of 5 bought images, held-out" in (run / "export/safetensors/README.md").read_text(encoding="utf-8")
    assert teacher.paid == 20


def test_foreign_server_states_the_size_and_the_number_of_classes(
    command: Command, photos: Path, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    """Its metadata say nothing of labels, and the pictures, of two sizes, become as large as it takes them."""
    Image.fromarray(np.zeros((5, 9), np.uint8)).save(photos / "wide.png")
    monkeypatch.setenv("TEACHER_API_KEY", "secret")
    model = ForeignModel(_by_rows, image_shape=(1, 6, 6), num_classes=3, tensors=("logits",), name="teacher")
    with oip_server.served(model) as url:
        ended = command("run", "--data", photos, "--teacher-url", url, "--n", 12, "--yes", "--json", *SMALL)
    result = facts_of(ended)
    assert (sum(model.charged), result["calls"], result["fidelity"]["samples"]) == (12, 12, 12)
    identity = json.loads((here / "runs/photos-12/run.json").read_text())["identity"]
    assert (identity["class_names"], identity["data"]["image_size"]) == (["0", "1", "2"], [6, 6])


def test_vendor_of_labels_names_the_classes(
    command: Command, photos: Path, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    """The table in the file has them; `train` then goes on without the vendor."""
    monkeypatch.setenv("TEACHER_API_KEY", "secret")
    model = ForeignScores(lambda image: _softmax(_by_rows(image[None].astype(np.uint8))[0]))
    assert photos.is_dir()
    config = here / "run.toml"
    with labelled_scores_server.served(model) as url:
        config.write_text(
            f"""
data = {{name = "image-folder", path = "photos"}}
student.network = "resnet8"
method = {{name = "kd"}}
plus = [{{name = "ckd"}}]
budget.n = 12
teacher = {{protocol = "labelled-scores", url = "{url}", top_k = 2, labels = {{cat = 0, dog = 1, newt = 2}}}}
"""
        )
        ended = command("run", config, "--json", *SMALL)
        result = facts_of(ended)
    assert (model.charged, result["teacher_output"]) == (12, "top_k:2")
    assert "its classes are 'cat', 'dog', 'newt'" in ended.stderr
    assert facts_of(command("train", config, "--json", *SMALL)) == {**result, "warnings": []}
    held = facts_of(command("train", config, "--held", "--json", *SMALL, "--set", "output.directory=held"))
    assert (held["n"], model.charged) == (12, 12)


def test_command_that_asks_no_teacher_says_where_the_classes_come_from(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        f'data = {{name = "image-folder", path = "{photos}"}}\nstudent.network = "resnet8"\nbudget.n = 12\n'
    )
    ended = command("train", config)
    assert ended.status == 2
    assert (
        "data.class_names: expected the teacher's classes, because the images have no labels, got none" in ended.stderr
    )
    named = command("train", config, "--set", 'data.class_names=["a", "b"]', "--set", "budget.rounds=1")
    assert named.status == 3
    assert "distill-worker fetch" in named.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected the file of a run, or --data and --teacher-url, got neither"),
        (
            ("--data", "gone", "--n", 20),
            "--data: expected a folder or a file with your data, got gone, which is not there",
        ),
    ],
    ids=["nothing", "no-folder"],
)
def test_options_that_are_no_run_are_explained(
    options: tuple[Any, ...], message: str, command: Command, teacher: FakeTeacher
) -> None:
    ended = command("run", *options)
    assert ended.status == 2
    assert message in ended.stderr
    assert teacher.paid == 0


def test_folder_in_place_of_a_file_is_explained(command: Command, photos: Path) -> None:
    ended = command("run", photos)
    assert ended.status == 2
    assert f"expected a TOML file, got a folder; to train on the images in it, write --data {photos}" in ended.stderr


def test_command_that_can_be_typed_again_names_every_option_and_no_password() -> None:
    stated = StatedRun(None, ("output.cache=postgresql://me:secret@host/name",), Path("my photos"), _WITH_PASSWORD, 5)
    assert stated.command("run", "--all") == (
        "distill-worker run --data 'my photos' --teacher-url https://host/path --n 5 --set output.cache=... --all"
    )


def test_path_in_any_script_is_read_as_it_is(command: Command, photos: Path, teacher: FakeTeacher) -> None:
    folder = photos.rename(photos.parent / 'Fotos "Zürich" \N{GRINNING FACE}')
    planned = command("plan", "--data", folder, "--n", 20, "--json", "--student", "resnet8")
    assert (facts_of(planned)["to_buy"], teacher.paid) == (10, 0)


def test_comparison_needs_test_images_with_labels(command: Command, photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "compare.toml"
    file.write_text(
        f"""
data = {{name = "image-folder", path = "{photos}", labels = "none", class_names = ["a", "b"]}}
student.network = "resnet8"
training.steps = 2
[compare]
directory = "{tmp_path}/compare"
n = [12]
seeds = 1
methods = [{{label = "kd", method = {{name = "kd"}}}}]
"""
    )
    ended = command("compare", file)
    assert (ended.status, ended.stdout) == (3, ""), ended.stderr
    assert "expected test images with labels, by which students are compared, got none in image-folder" in ended.stderr


def _by_rows(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The brightness of the first three rows, as logits."""
    rows: NDArray[np.float64] = images.mean(axis=1)[:, :3].mean(axis=2) / 32.0
    return rows


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised: NDArray[np.float64] = np.exp(logits - logits.max())
    scaled: NDArray[np.float64] = raised / raised.sum()
    return scaled
