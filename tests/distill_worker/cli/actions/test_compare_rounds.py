"""Rows that select in rounds, beside others: each round is one purchase, and nothing is bought twice."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_worker.experiments.comparison import students
from distill_worker.runs.rounds import SelectedSamples, with_next_round
from distill_worker.teachers.base import Description
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher

N, SEEDS = 9, 2
IN_ROUNDS = {
    "k-center-softmax": 'strategy = "k-center-softmax", rounds = 3, first = "typical"',
    "k-center of features": 'strategy = "k-center", features = "student", rounds = 2',
}
AT_MOST = SEEDS * N * (2 + len(IN_ROUNDS))
"""Calls, if no two rows select the same sample."""


def _comparison(folder: Path, *, base: str = "", method: str = "kd") -> Path:
    at_once = ('label = "random"', 'label = "k-center"\nsettings.budget.strategy = "k-center"')
    rows = [*at_once, *(f'label = "{label}"\nsettings.budget = {{{budget}}}' for label, budget in IN_ROUNDS.items())]
    methods = "\n".join(f'[[compare.methods]]\n{row}\nmethod.name = "{method}"' for row in rows)
    path = folder / "compare.toml"
    path.write_text(
        f"""
data.name = "digits"
student.network = "resnet8"
training = {{steps = 3, batch_size = 4, checkpoint_every = 1, device = "cpu", precision = "float32"}}
teacher.give_up_after_seconds = 0
{base}
[compare]
directory = "compared"
n = [{N}]
seeds = {SEEDS}
jobs = 2
same_samples = false
baseline = "random"
{methods}
"""
    )
    return path


@pytest.fixture(autouse=True)
def _quota(teacher: FakeTeacher) -> None:
    """Enough for all comparisons of a test."""
    teacher.limit = 3 * AT_MOST


def _selected(folder: Path, label: str, seed: int) -> list[list[str]]:
    """The keys of each round of a row's student."""
    rounds = folder / "compared" / "students" / f"{label.replace(' ', '-')}-n{N}-seed{seed}" / "rounds"
    return [json.loads(path.read_text())["keys"] for path in sorted(rounds.glob("*.json"))]


def _repeatable(facts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in result.items() if name != "seconds"} for result in facts["results"]]


def _bought(teacher: FakeTeacher) -> list[str]:
    return [key.hex() for keys in teacher.charged.values() for key in keys]


def test_rounds_of_all_rows_are_bought_together_and_each_sample_once(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    """Every student has n samples, those of its own rounds; what two rows select is paid for once."""
    ended = command("compare", _comparison(tmp_path), "--yes", "--json")
    facts = facts_of(ended)
    assert f"later rounds buy {SEEDS * (6 + 4)} more, or fewer if some are cached" in ended.stderr
    assert "later rounds buy 6 more" in ended.stderr
    assert {(result["method"], result["calls"]) for result in facts["results"]} == {
        (label, N) for label in ("random", "k-center", *IN_ROUNDS)
    }
    bought = _bought(teacher)
    assert len(set(bought)) == len(bought) == teacher.paid == facts["calls_paid"] <= AT_MOST
    assert facts["quota"]["used"] == teacher.paid
    for label, rounds in zip(IN_ROUNDS, (3, 2), strict=True):
        for seed in range(SEEDS):
            selected = _selected(tmp_path, label, seed)
            keys = [key for of_round in selected for key in of_round]
            assert (len(selected), len(keys), len(set(keys))) == (rounds, N, N)
            assert set(keys) <= set(bought)
    assert _selected(tmp_path, "k-center of features", 0) != _selected(tmp_path, "k-center of features", 1)
    again = facts_of(command("compare", tmp_path / "compare.toml", "--json"))
    assert (again["calls_paid"], again["cache_hits"], teacher.paid) == (0, len(bought), len(bought))
    assert _repeatable(again) == _repeatable(facts)
    shown = command("compare", tmp_path / "compare.toml", "--markdown").stdout
    assert "| against random | n = 9: points [95 % interval] (seeds won) p, Holm's p over all rows at this n |" in shown


def test_run_of_a_row_selects_what_a_run_alone_selects(command: Command, tmp_path: Path, teacher: FakeTeacher) -> None:
    """To the last bit of the student: other rows and their purchases change nothing."""
    facts_of(command("compare", _comparison(tmp_path), "--yes", "--json"))
    paid = teacher.paid
    run = tmp_path / "run.toml"
    run.write_text(
        f"""
data.name = "digits"
student.network = "resnet8"
method.name = "kd"
training = {{seed = 1, steps = 3, batch_size = 4, checkpoint_every = 1, device = "cpu", precision = "float32"}}
budget = {{n = {N}, seed = 1, {IN_ROUNDS["k-center-softmax"]}}}
output = {{directory = "run", cache = "compared/cache.sqlite"}}
"""
    )
    facts_of(command("run", run, "--json"))
    assert teacher.paid == paid
    student = tmp_path / "compared" / "students" / f"k-center-softmax-n{N}-seed1"
    for name in ("student.safetensors", "rounds/0001/student.safetensors", "rounds/0002/student.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (student / name).read_bytes()


def test_quota_of_all_rounds_is_compared_before_the_first_call(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    teacher.limit = AT_MOST // 2
    ended = command("compare", _comparison(tmp_path), "--yes")
    assert ended.status == 5
    assert "calls in this and later rounds" in ended.stderr
    assert "Nothing was spent. Lower compare.n" in ended.stderr
    assert (teacher.sent, teacher.paid) == ([], 0)


def test_comparison_that_ends_anywhere_goes_on_with_the_same_selections(
    command: Command, tmp_path: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the first purchase, among the selections of a round, and within the last purchase."""
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    expected = facts_of(command("compare", _comparison(undisturbed), "--yes", "--json"))
    total = teacher.paid
    comparison = _comparison(tmp_path)
    ended = command("compare", comparison, "--max-calls", 5)
    assert ended.status == 5
    assert "--max-calls: expected all" in ended.stderr
    assert teacher.paid == total + 5
    selections: list[str | None] = []

    def select(*arguments: Any) -> SelectedSamples:
        selections.append(arguments[-1])
        if len(selections) == 3:
            raise KeyboardInterrupt
        return with_next_round(*arguments)

    monkeypatch.setattr(students, "with_next_round", select)
    assert command("compare", comparison, "--yes").status == 130
    assert selections == ["t"] * 3
    in_second_round = [
        label for label in IN_ROUNDS for seed in range(SEEDS) if len(_selected(tmp_path, label, seed)) > 1
    ]
    assert in_second_round == ["k-center-softmax"] * 2
    left = 2 * total - teacher.paid
    ended = command("compare", comparison, "--max-calls", left - 1)
    assert (ended.status, teacher.paid) == (5, 2 * total - 1)
    facts = facts_of(command("compare", comparison, "--max-calls", 1, "--json"))
    assert (facts["calls_paid"], teacher.paid) == (1, 2 * total)
    assert _repeatable(facts) == _repeatable(expected)
    for label in IN_ROUNDS:
        for seed in range(SEEDS):
            assert _selected(tmp_path, label, seed) == _selected(undisturbed, label, seed)


def test_what_the_command_bought_in_earlier_rounds_is_not_forgotten(
    command: Command, tmp_path: Path, teacher: FakeTeacher
) -> None:
    """The limit ends at the first round's last call, and the price of the second one needs consent of its own."""
    comparison = _comparison(tmp_path, base="teacher.price_per_call = 0.5")
    wanted = re.search(r"expected all (\d+) outputs", command("compare", comparison, "--max-calls", 5).stderr)
    assert wanted is not None
    in_first_round = int(wanted.group(1))
    ended = command("compare", comparison, "--max-calls", in_first_round - 5)
    assert (ended.status, teacher.paid) == (5, in_first_round)
    assert f"got {in_first_round}; {in_first_round - 5} were bought now" in ended.stderr
    ended = command("compare", comparison)
    assert (ended.status, teacher.paid) == (5, in_first_round)
    assert "without a terminal. Nothing was spent in this round" in ended.stderr


def test_rounds_are_bought_from_one_teacher(command: Command, tmp_path: Path, teacher: FakeTeacher) -> None:
    """Its version changes while the students of the first round are trained."""
    first, described = teacher.description, teacher.describe

    def describe() -> Description:
        changed = any(tmp_path.glob("compared/students/*/rounds/0001/result.json"))
        return replace(first, id="t2") if changed else described()

    teacher.describe = describe  # type: ignore[method-assign]
    ended = command("compare", _comparison(tmp_path), "--yes")
    assert ended.status != 0
    assert "expected t, from which the earlier rounds were bought, got t2" in ended.stderr
    assert "nothing was spent on this round" in ended.stderr
    assert "(of a comparison: compare.directory)" in ended.stderr
    assert 0 < teacher.paid <= SEEDS * (2 * N + 3 + 5), "the first round alone"


def test_rounds_of_labels_alone_contact_no_teacher(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill_worker.runs.purchase.connect", lambda *_: pytest.fail("contacted"))
    facts = facts_of(command("compare", _comparison(tmp_path, method="ce"), "--json"))
    assert (facts["calls_paid"], facts["cache_hits"], facts["quota"]) == (0, 0, None)
    assert [len(keys) for keys in _selected(tmp_path, "k-center-softmax", 0)] == [3, 3, 3]
