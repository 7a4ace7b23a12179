"""`init`: from data and a URL to a file that `plan` takes as it is, with a comment for each key."""

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill_worker.config.load import load_config
from tests.distill_worker.cli.conftest import Command
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.http_teacher import served

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _photos(folder: Path, *, sizes: tuple[tuple[int, int], ...] = ((40, 48),), number: int = 12) -> Path:
    folder.mkdir(parents=True)
    for index in range(number):
        shape = sizes[index % len(sizes)]
        pixels = np.random.default_rng(index).integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def _document() -> dict[str, Any]:
    return tomllib.loads(Path("run.toml").read_text())


def test_file_is_one_that_plan_takes(command: Command) -> None:
    """The price in the plan is that of the calls that were stated, and nothing was spent."""
    teacher = FakeTeacher(limit=40, description=describe(shape=(1, 8, 8), num_classes=10))
    with served(teacher) as url:
        ended = command("init", "--data", "digits", "--teacher-url", url, "--n", "12")
        assert ended.status == 0
        assert "teacher: t, 10 classes, sells logits; 40 of 40 calls remain" in ended.stderr
        assert "data: digits: 1,797 images in 10 classes, grey, 8 x 8" in ended.stderr
        planned = command("plan", "run.toml", "--set", "budget.rounds=1", "--json")
    assert planned.status == 0
    assert '"to_buy": 12' in planned.stdout
    assert teacher.paid == 0


def test_next_commands_are_printed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = command("init", "--data", "digits", "--teacher-url", NOWHERE, "-o", "my runs/first.toml")
    typed = re.findall(r"distill-worker (\w+) '(my runs/first.toml)'", ended.stdout)
    assert [name for name, _ in typed] == ["doctor", "plan", "run"]
    assert "export TEACHER_API_KEY=" in ended.stdout
    monkeypatch.setenv("TEACHER_API_KEY", "tk_1")
    assert "export" not in command("init", "--data", "digits", "--teacher-url", NOWHERE).stdout


def test_teacher_that_cannot_be_reached_is_a_note(command: Command) -> None:
    ended = command("init", "--data", "digits", "--teacher-url", NOWHERE)
    assert ended.status == 0
    assert f"note: the file is written without the teacher's answers: {NOWHERE}: the teacher cannot be" in ended.stderr
    assert load_config(Path("run.toml")).teacher.url == NOWHERE


def test_each_key_has_a_comment(command: Command) -> None:
    """Also those that are shown as comments: the line before each is one."""
    _photos(Path("photos"), sizes=((40, 48), (64, 64)))
    command("init", "--data", "photos", "--teacher-url", NOWHERE)
    lines = Path("run.toml").read_text().splitlines()
    keys = [place for place, line in enumerate(lines) if re.match(r"(# )?\w+ = ", line)]
    assert len(keys) > 10
    assert [lines[place] for place in keys if not lines[place - 1].startswith("# ")] == []


def test_existing_file_stays_without_force(command: Command) -> None:
    Path("run.toml").write_text("mine")
    ended = command("init", "--data", "digits", "--teacher-url", NOWHERE)
    assert (ended.status, ended.stdout, Path("run.toml").read_text()) == (2, "", "mine")
    assert "add --force to replace it" in ended.stderr
    assert command("init", "--data", "digits", "--teacher-url", NOWHERE, "--force").status == 0
    assert load_config(Path("run.toml")).data.name == "digits"


def test_images_of_several_sizes_get_the_size_of_the_teacher(command: Command) -> None:
    """Or, without a teacher, a usual one that is not above the smallest side. The classes are the teacher's."""
    _photos(Path("photos"), sizes=((40, 48), (64, 70)))
    with served(FakeTeacher(limit=9, description=describe(shape=(3, 24, 28), num_classes=5))) as url:
        ended = command("init", "--data", "photos", "--teacher-url", url)
    assert "12 images without labels, colour, several sizes" in ended.stderr
    document = _document()
    assert document["data"] == {"name": "image-folder", "path": "photos", "image_size": [24, 28], "labels": "none"}
    assert document["student"]["network"] == "resnet8x4"
    assert document["budget"]["n"] == 6  # of 12 images; 9 calls remain
    command("init", "--data", "photos", "--teacher-url", NOWHERE, "--force")
    assert _document()["data"]["image_size"] == [32, 32]


def test_default_number_is_what_the_quota_pays_for(command: Command) -> None:
    with served(FakeTeacher(limit=9, description=describe(shape=(1, 8, 8), num_classes=10))) as url:
        command("init", "--data", "digits", "--teacher-url", url)
    assert _document()["budget"]["n"] == 9


def test_data_outside_the_folder_of_the_file_have_a_whole_path(command: Command, tmp_path: Path) -> None:
    _photos(tmp_path / "photos")
    command("init", "--data", "photos", "--teacher-url", NOWHERE, "-o", "runs/first.toml")
    assert load_config(Path("runs/first.toml")).data.path == tmp_path / "photos"


def test_password_in_a_url_is_not_written(command: Command) -> None:
    ended = command("init", "--data", "digits", "--teacher-url", "http://user:hush@127.0.0.1:1/x?key=hush")
    assert ended.status == 0
    assert "hush" not in Path("run.toml").read_text()
    assert _document()["teacher"]["url"] == "http://127.0.0.1:1/x"
    assert "set TEACHER_URL to the whole URL" in ended.stderr


def test_overriding_address_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has the stated one, and the other one is contacted, as by every command."""
    with served(FakeTeacher(limit=9, description=describe(shape=(1, 8, 8), num_classes=10))) as url:
        monkeypatch.setenv("TEACHER_URL", url)
        ended = command("init", "--data", "digits", "--teacher-url", NOWHERE)
    assert f"{url} is contacted" in ended.stderr
    assert "9 of 9 calls remain" in ended.stderr
    assert _document()["teacher"]["url"] == NOWHERE


def test_questions_are_asked_on_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data, the teacher, the student, the calls; an option is not asked for."""
    asked: list[tuple[str, str]] = []
    answers = iter(["digits", NOWHERE, "resnet8", "30"])

    def prompt(question: str, *, default: str, **_: object) -> str:
        asked.append((question.partition(",")[0].partition(":")[0], default))
        return next(answers)

    monkeypatch.setattr("distill_worker.cli.actions.init.typer.prompt", prompt)
    monkeypatch.setattr("distill_worker.cli.actions.init.is_terminal", lambda: True)
    assert command("init").status == 0
    assert asked == [
        ("your data", "digits"),
        ("the URL of the teacher", "http://127.0.0.1:8000"),
        ("the network to train", "resnet8x4"),
        ("the number of samples to buy", "500"),
    ]
    config = load_config(Path("run.toml"))
    assert (config.student.network, config.budget.n, config.teacher.url) == ("resnet8", 30, NOWHERE)
    asked.clear()
    answers = iter(["31"])
    command("init", "--data", "digits", "--teacher-url", NOWHERE, "--student", "resnet8", "--force")
    assert [question for question, _ in asked] == ["the number of samples to buy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data: expected your data or the name of a data set, got none"),
        (["--data", "digts"], "which is neither; did you mean 'digits'?"),
        (["--data", "npz"], "expected the path of your data, got 'npz', which is the name of their format"),
        (["--data", "digits", "--student", "resnt8"], "did you mean 'resnet8'?"),
        (["--data", "digits", "--teacher-url", "127.0.0.1:8000"], "--teacher-url: expected a URL such as"),
    ],
)
def test_what_is_wrong_is_named_and_no_file_is_written(command: Command, arguments: list[str], message: str) -> None:
    ended = command("init", *arguments)
    assert (ended.status, ended.stdout) == (2, "")
    assert message in ended.stderr
    assert not Path("run.toml").exists()


def test_data_that_cannot_be_read_are_a_note(command: Command) -> None:
    """Such as a public data set that is not there yet."""
    ended = command("init", "--data", "cifar10", "--teacher-url", NOWHERE)
    assert ended.status == 0
    assert "note: the data cannot be read yet" in ended.stderr
    assert _document()["data"] == {"name": "cifar10", "root": "data"}
