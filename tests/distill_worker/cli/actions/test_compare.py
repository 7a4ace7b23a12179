"""A comparison spends as `fetch` does: the price of all its samples is agreed to before the first is bought."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from distill_worker.config.run_config import RunConfig
from distill_worker.experiments.comparison import compare as module
from distill_worker.experiments.comparison import lessons
from distill_worker.experiments.own_teacher.local_teacher import TrainedTeacher
from distill_worker.runs import classes, resolution
from distill_worker.teachers.base import Teacher
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher
from tests.small_teacher import small_teacher

PRICE = 'teacher.price_per_call = 0.25\nteacher.currency = "EUR"\n'
SEEDS_DIFFER = "same_samples = false\n"
OWN_TEACHER = '[compare.teacher]\nnetwork = "resnet8"\nsteps = 1\n'


def _comparison(folder: Path, *, base: str = "", compare: str = "", tables: str = "") -> Path:
    """KD and CKD at n = 8 and 6 with two seeds, by their default on the same samples."""
    path = folder / "compare.toml"
    path.write_text(
        f"""
data.name = "digits"
student.network = "resnet8"
training.steps = 1
training.batch_size = 4
training.device = "cpu"
teacher.give_up_after_seconds = 0
{base}
[compare]
directory = "{folder}/compared"
n = [6, 8]
seeds = 2
methods = [{{label = "KD", method = {{name = "kd"}}}}, {{label = "CKD", method = {{name = "ckd"}}}}]
{compare}
{tables}
"""
    )
    return path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many students each comparison would have trained, in place of their training."""
    counts: list[int] = []

    def train_students(cells: Any, *_: object, **__: object) -> list[dict[str, Any]]:
        counts.append(len(cells))
        return [
            {
                "method": cell.label,
                "track": cell.config.track,
                "n": cell.n,
                "seed": cell.seed,
                "accuracy": 0.5,
                "calls": cell.n,
                "steps": 1,
                "seconds": 1.0,
            }
            for cell in cells
        ]

    monkeypatch.setattr(module, "train_students", train_students)
    return counts


def test_price_of_all_samples_needs_an_agreement(
    command: Command, tmp_path: Path, teacher: FakeTeacher, trained: list[int]
) -> None:
    """Eight calls for both sizes and seeds, said before the first; then --yes buys them once."""
    comparison = _comparison(tmp_path, base=PRICE)
    ended = command("compare", comparison)
    assert ended.status == 5
    assert "before 8 calls can be spent for 2.00 EUR without a terminal" in ended.stderr
    assert (teacher.paid, trained) == (0, [])
    facts = facts_of(command("compare", comparison, "--yes", "--json"))
    assert (facts["calls_paid"], facts["cache_hits"], teacher.paid, trained) == (8, 0, 8, [8])
    teacher.describe = teacher.quota = lambda: pytest.fail("a request was sent")  # type: ignore[method-assign]
    ended = command("compare", comparison, "--json")
    assert "all 8 wanted outputs are cached; no request was sent" in ended.stderr
    again = facts_of(ended)
    assert (again["calls_paid"], again["cache_hits"], teacher.paid) == (0, 8, 8)


@pytest.mark.usefixtures("teacher", "trained")
def test_comparison_ends_with_its_page(command: Command, tmp_path: Path) -> None:
    """`report` writes it again from the facts beside it."""
    comparison = _comparison(tmp_path, compare='baseline = "KD"')
    ended = command("compare", comparison, "--yes", "--json")
    page, facts = tmp_path / "compared" / "report.html", tmp_path / "compared" / "comparison.json"
    assert ended.stderr.splitlines()[-1] == f"page: {page}"
    assert f"distill-worker compare {comparison}" in page.read_text()
    assert json.loads(facts.read_text()) == facts_of(ended)
    assert command("report", facts, "-o", tmp_path / "again.html").status == 0
    assert "Comparison on digits" in (tmp_path / "again.html").read_text()


@pytest.mark.parametrize(("answer", "paid"), [(True, 8), (False, 0)])
def test_terminal_is_asked_once_for_everything(
    command: Command,
    tmp_path: Path,
    teacher: FakeTeacher,
    trained: list[int],
    monkeypatch: pytest.MonkeyPatch,
    answer: bool,
    paid: int,
) -> None:
    questions: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        questions.append(question)
        return answer

    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.typer.confirm", confirm)
    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.is_terminal", lambda: True)
    ended = command("compare", _comparison(tmp_path, base=PRICE))
    assert questions == ["spend 8 calls for 2.00 EUR?"]
    assert (teacher.paid, len(trained)) == (paid, int(answer))
    assert ended.status == (0 if answer else 5)


@pytest.mark.usefixtures("trained")
def test_quota_is_compared_with_the_total(command: Command, tmp_path: Path, teacher: FakeTeacher) -> None:
    """It would pay for each seed alone, but not for both: nothing is bought."""
    teacher.limit = 12
    ended = command("compare", _comparison(tmp_path, compare=SEEDS_DIFFER), "--yes")
    assert ended.status == 5
    assert "compare.n: expected a quota for 16 calls" in ended.stderr
    assert "Nothing was spent. Lower compare.n, or get a larger quota; --max-calls 12 buys a part" in ended.stderr
    assert (teacher.sent, teacher.paid) == ([], 0)


def test_part_is_bought_and_the_next_one_later(
    command: Command, tmp_path: Path, teacher: FakeTeacher, trained: list[int]
) -> None:
    comparison = _comparison(tmp_path, base=PRICE)
    ended = command("compare", comparison, "--max-calls", 5)
    assert ended.status == 5
    assert "expected all 8 outputs in the cache before a student is trained, got 5" in ended.stderr
    assert (teacher.paid, trained) == (5, [])
    assert facts_of(command("compare", comparison, "--max-calls", 5, "--json"))["calls_paid"] == 3
    assert (teacher.paid, trained) == (8, [8])


def test_samples_in_a_named_cache_are_not_bought_again(
    command: Command, config: Path, tmp_path: Path, teacher: FakeTeacher, trained: list[int]
) -> None:
    """Those of a run of ten: the comparison needs its first eight."""
    facts_of(command("fetch", config, "--json"))
    comparison = _comparison(tmp_path, base=PRICE, compare=f'cache = "{tmp_path}/cache.sqlite"')
    facts = facts_of(command("compare", comparison, "--json"))
    assert (facts["calls_paid"], facts["cache_hits"], teacher.paid, trained) == (0, 8, 10, [8])


@pytest.fixture
def own_teacher(teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch) -> FakeTeacher:
    """In place of the network that a comparison trains and serves."""

    @contextmanager
    def serving(*_: object, **__: object) -> Iterator[Teacher]:
        yield teacher

    monkeypatch.setattr(lessons, "train_teacher", lambda *_: TrainedTeacher("resnet8", 0.9, Path("weights")))
    monkeypatch.setattr(lessons, "serving", serving)
    return teacher


@pytest.mark.usefixtures("trained")
def test_own_teacher_of_a_comparison_needs_no_agreement(
    command: Command, config: Path, tmp_path: Path, own_teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless its calls have a price. It is not taken for the teacher at the configured address."""
    monkeypatch.setattr(
        "distill_worker.cli.actions.agreed_purchase.typer.confirm", lambda *_, **__: pytest.fail("it asked")
    )
    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.is_terminal", lambda: True)
    comparison = _comparison(tmp_path, compare=f'cache = "{tmp_path}/cache.sqlite"', tables=OWN_TEACHER)
    assert facts_of(command("compare", comparison, "--json"))["calls_paid"] == 8
    monkeypatch.setenv("TEACHER_URL", "http://127.0.0.1:1")
    assert "cannot be reached" in command("fetch", config, "--set", "budget.n=8").stderr
    priced = _comparison(tmp_path, base=PRICE, tables=OWN_TEACHER)
    monkeypatch.setattr("distill_worker.cli.actions.agreed_purchase.is_terminal", lambda: False)
    assert command("compare", priced).status == 5
    assert own_teacher.paid == 8


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(("compare", "statuses"), [("", [0, 0, 0]), ("quota = 6", [0, 5, 5])])
def test_own_teacher_serves_what_is_added_later_within_a_stated_quota(
    compare: str, statuses: list[int], command: Command, tmp_path: Path
) -> None:
    """A real service, whose API key the first comparison made with a quota for itself alone."""
    path = _comparison(tmp_path, compare=compare, tables=OWN_TEACHER)
    text = path.read_text()
    for sizes, status in zip(("[6]", "[6, 8]", "[6, 8]"), statuses, strict=True):
        path.write_text(text.replace("n = [6, 8]", f"n = {sizes}"))
        ended = command("compare", path, "--json")
        assert ended.status == status, ended.stderr
    if not compare:
        assert facts_of(ended)["quota"] == {"limit": 8, "used": 8, "remaining": 0}


@pytest.mark.usefixtures("trained", "own_teacher")
def test_own_teacher_of_a_comparison_trains_in_the_precision_of_the_students(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a comparison in float32 is the same on machines where `auto` stands for another one."""
    trained_in: list[str] = []

    def train_teacher(config: RunConfig, _: object) -> TrainedTeacher:
        trained_in.append(config.training.precision)
        return TrainedTeacher("resnet8", 0.9, Path("weights"))

    monkeypatch.setattr(lessons, "train_teacher", train_teacher)
    monkeypatch.setattr(resolution, "automatic_precision", lambda _device: "bfloat16")
    for number, base in enumerate(("", 'training.precision = "float32"')):
        compare = f'cache = "{tmp_path}/{number}.sqlite"'
        facts_of(command("compare", _comparison(tmp_path, base=base, compare=compare, tables=OWN_TEACHER), "--json"))
    assert trained_in == ["bfloat16", "float32"]


@pytest.mark.usefixtures("trained", "own_teacher")
def test_degraded_teacher_is_shown_with_the_accuracy_of_what_it_sells(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On ten classes, noise that drowns the logits leaves about a tenth."""
    weights = small_teacher(tmp_path / "trained.safetensors")
    monkeypatch.setattr(lessons, "train_teacher", lambda *_: TrainedTeacher("resnet8", 0.9, weights))
    comparison = _comparison(tmp_path, tables=f"{OWN_TEACHER}noise = 1000\n")
    ended = command("compare", comparison)
    assert ended.status == 0, ended.stderr
    facts = json.loads((tmp_path / "compared" / "comparison.json").read_text())
    teacher = facts["teacher"]
    assert 0.05 < teacher["accuracy"] < 0.15
    assert teacher["accuracy_before_degradation"] == 0.9
    assert f"teacher resnet8 ({teacher['accuracy']:.2%}, 90.00% before it was degraded)" in ended.stdout
    assert facts["same_samples"] is True


def test_comparison_on_labels_alone_contacts_no_teacher(
    command: Command, tmp_path: Path, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_worker.runs.purchase.connect", lambda *_: pytest.fail("contacted"))
    path = _comparison(tmp_path)
    methods = '[{label = "KD", method = {name = "kd"}}, {label = "CKD", method = {name = "ckd"}}]'
    path.write_text(path.read_text().replace(methods, '[{label = "CE", method = {name = "ce"}}]'))
    facts = facts_of(command("compare", path, "--json"))
    assert (facts["teacher"], facts["calls_paid"]) == ({"id": None, "outputs": []}, 0)
    assert trained == [4]


ROWS = """
[[compare.methods]]
label = "KD"
method = {name = "kd"}
[[compare.methods]]
label = "KD beside the pool"
method = {name = "kd"}
settings = {track = "labelled-pool", training = {steps = 3}, student = {network = "resnet8x4"}}
[[compare.methods]]
label = "pseudo-labels"
method = {name = "pseudo-label"}
settings = {track = "unlabelled-pool", augmentation = {crop_padding = 1}}
"""


def _with_rows(folder: Path, rows: str) -> Path:
    path = _comparison(folder, tables=rows)
    kept = [line for line in path.read_text().splitlines() if not line.startswith("methods = ")]
    path.write_text("\n".join(kept))
    return path


def test_rows_of_other_settings_share_the_purchase(
    command: Command, tmp_path: Path, teacher: FakeTeacher, trained: list[int]
) -> None:
    """Three rows of two seeds at n = 6 and 8: eight calls; all that the rows differ in is named."""
    comparison = _with_rows(tmp_path, ROWS)
    ended = command("compare", comparison, "--yes", "--json")
    facts = facts_of(ended)
    assert (facts["calls_paid"], teacher.paid, trained) == (8, 8, [12])
    assert (facts["track"], facts["student"]) == ("queried, labelled-pool, unlabelled-pool", "resnet8, resnet8x4")
    assert {(result["method"], result["track"]) for result in facts["results"]} == {
        ("KD", "queried"),
        ("KD beside the pool", "labelled-pool"),
        ("pseudo-labels", "unlabelled-pool"),
    }
    again = command("compare", comparison, "--markdown")
    assert "| method | track | n = 6 | calls | seconds | n = 8 | calls | seconds |" in again.stdout
    assert "| KD beside the pool | labelled-pool | 50.00 ± 0.00 | 6 | 1.0 |" in again.stdout
    assert teacher.paid == 8


def test_every_row_is_checked_before_a_call_is_spent(command: Command, tmp_path: Path, teacher: FakeTeacher) -> None:
    """The second row alone has a network that cannot be built."""
    rows = ROWS.replace('"resnet8x4"', '"resnet7"')
    ended = command("compare", _with_rows(tmp_path, rows), "--yes")
    assert ended.status == 2
    assert "KD beside the pool, n = 6, seed 0: student.network: a CIFAR resnet has depth" in ended.stderr
    assert "got 7" in ended.stderr
    assert (teacher.sent, teacher.paid) == ([], 0)


def test_teacher_must_agree_with_the_labels_of_any_row(
    command: Command, tmp_path: Path, teacher: FakeTeacher, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the first row's track has none."""
    judged_by: list[str] = []

    def judge(config: RunConfig, *_: object) -> Any:
        judged_by.append(config.track)
        return lambda *_: None

    monkeypatch.setattr(classes, "judge", judge)
    _, kd, _, unlabelled = ROWS.split("[[compare.methods]]")
    rows = "".join(f"[[compare.methods]]{row}" for row in (unlabelled, kd))
    facts_of(command("compare", _with_rows(tmp_path, rows), "--yes", "--json"))
    assert (judged_by, teacher.paid, trained) == (["queried"], 8, [8])


def test_curve_of_the_reference_is_bought_with_everything_else(
    command: Command, tmp_path: Path, teacher: FakeTeacher, trained: list[int]
) -> None:
    """Its samples are nested with those of all rows: the largest size costs what the comparison costs."""
    compare = 'baseline = "KD"\nreference = "KD"\nreference_n = [2, 4, 10, 12]'
    comparison = _comparison(tmp_path, compare=compare)
    facts = facts_of(command("compare", comparison, "--yes", "--json"))
    assert (facts["calls_paid"], teacher.paid, trained) == (12, 12, [(2 * 2 + 4) * 2])
    assert facts["reference_n"] == [2, 4, 6, 8, 10, 12]
    assert [(one["method"], one["n"]) for one in facts["equivalent_calls"]] == [("CKD", 6), ("CKD", 8)]
    shown = command("compare", comparison, "--markdown").stdout
    assert "| reference | n = 2 | n = 4 | n = 6 | n = 8 | n = 10 | n = 12 |" in shown
    assert "| CKD | 2 [2, 2], 0.3x | 2 [2, 2], 0.2x |" in shown
