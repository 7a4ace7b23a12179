"""`distill-worker forecast`: from a run whose outputs are bought, and from the results of a comparison."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_worker.experiments.comparison import compare as module
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.experiments.forecast.curves import SIZES, drawn, law
from tests.distill_worker.fake_teacher import FakeTeacher

N = "budget.n=16"


@pytest.fixture
def accuracies(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """The accuracy of every student by its n, in place of its training; seeds differ by half a point."""
    by_n = {2: 0.5, 4: 0.6, 8: 0.68, 16: 0.74}

    def train_students(cells: Any, *_: object, **__: object) -> list[dict[str, Any]]:
        return [
            {"method": cell.label, "n": cell.n, "seed": cell.seed, "accuracy": by_n[cell.n] + (cell.seed - 1) / 200}
            for cell in cells
        ]

    monkeypatch.setattr(module, "train_students", train_students)
    return by_n


def test_forecast_trains_on_what_is_bought_and_resumes(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Real students of two seeds at four sizes, without a request; the second forecast trains none."""
    facts_of(command("fetch", config, "--set", N, "--json"))
    teacher.describe = teacher.quota = lambda: pytest.fail("a request was sent")  # type: ignore[method-assign]
    options = ("--set", N, "--seeds", 2, "--set", "training.steps=2", "--json")
    ended = command("forecast", config, *options)
    if ended.status == 6:  # students of two steps may be worse with more samples
        assert "forecast: not monotone: kd has" in ended.stderr
    else:
        facts = facts_of(ended)
        assert [size["n"] for size in facts["measured"]] == [2, 4, 8, 16]
        assert [forecast["n"] for forecast in facts["forecasts"]] == [32, 64]
    students = config.parent / "run" / "forecast" / "students"
    results = {path.name: (path / "result.json").stat().st_mtime_ns for path in students.iterdir()}
    assert len(results) == 8
    again = command("forecast", config, *options)
    assert (again.status, again.stdout) == (ended.status, ended.stdout)
    assert {path.name: (path / "result.json").stat().st_mtime_ns for path in students.iterdir()} == results
    assert teacher.paid == 16


@pytest.mark.usefixtures("accuracies")
def test_answers_are_sentences(command: Command, config: Path, teacher: FakeTeacher) -> None:
    facts_of(command("fetch", config, "--set", N, "--yes", "--json"))
    prices = ("--set", "teacher.price_per_call=0.25", "--set", "teacher.currency=EUR")
    ended = command("forecast", config, "--set", N, "--n", 40, "--accuracy", 0.78, *prices)
    assert ended.status == 0, ended.stderr
    facts = facts_of(command("forecast", config, "--set", N, "--n", 40, "--accuracy", 0.78, *prices, "--json"))
    [forecast], wanted = facts["forecasts"], facts["wanted"]
    low, high = (f"{100 * forecast[end]:.1f}" for end in ("low", "high"))
    assert f"40 calls will give {100 * forecast['accuracy']:.1f} % ({low} to {high})\n" in ended.stdout
    assert ended.stdout.count("in brackets is the band: it is meant to hold in four of five cases") == 1
    assert wanted["price"] == pytest.approx(0.25 * wanted["calls"])
    assert f"for 78.0 % buy about {wanted['calls']} more calls ({wanted['low']} to " in ended.stdout
    assert f", that costs {wanted['price']:.2f} EUR; buy {wanted['next_purchase']} and ask again\n" in ended.stdout
    assert facts["farthest"] == 64
    assert facts["measured"][0] == {"n": 2, "accuracies": [0.495, 0.5, 0.505]}
    reached = command("forecast", config, "--set", N, "--accuracy", 0.7)
    assert "70.0 % is reached: 74.0 % with the 16 samples that are bought" in reached.stdout
    assert "the band" not in reached.stdout
    assert teacher.paid == 16


@pytest.mark.parametrize("is_bought_in_part", [False, True])
@pytest.mark.usefixtures("accuracies")
def test_outputs_that_are_not_bought_end_it_before_a_request(
    command: Command, config: Path, teacher: FakeTeacher, is_bought_in_part: bool
) -> None:
    if is_bought_in_part:
        facts_of(command("fetch", config, "--json"))
    read = len(teacher.paths_read)
    ended = command("forecast", config, "--set", N)
    assert ended.status == 3
    assert "distill-worker fetch" in ended.stderr if is_bought_in_part else "`distill-worker fetch`" in ended.stderr
    assert "expected all 16 outputs" in ended.stderr or not is_bought_in_part
    assert (len(teacher.paths_read), teacher.paid) == (read, 10 if is_bought_in_part else 0)


def test_curve_that_rises_is_status_6(
    command: Command, config: Path, teacher: FakeTeacher, accuracies: dict[int, float]
) -> None:
    facts_of(command("fetch", config, "--set", N, "--json"))
    accuracies[8] = 0.4
    ended = command("forecast", config, "--set", N)
    assert ended.status == 6
    assert "not monotone: kd has 60.0% with 4 samples and less with 8: 40.0%" in ended.stderr
    assert teacher.paid == 16


def _results(folder: Path, methods: tuple[str, ...] = ("CE", "KD"), sizes: tuple[int, ...] = SIZES) -> Path:
    errors = drawn(law(0.1, 2, -0.5, sizes), 3, np.random.default_rng(0))
    path = folder / "results.json"
    results = [
        {"method": method, "n": n, "seed": seed, "accuracy": 1 - errors[seed, column]}
        for method in methods
        for column, n in enumerate(sizes)
        for seed in range(3)
    ]
    path.write_text(json.dumps({"results": results}))
    return path


def test_results_of_a_comparison_are_fitted_without_training(command: Command, tmp_path: Path) -> None:
    facts = facts_of(command("forecast", _results(tmp_path), "--method", "KD", "--json"))
    assert [size["n"] for size in facts["measured"]] == list(SIZES)
    assert [forecast["n"] for forecast in facts["forecasts"]] == [1000, 2000]
    assert facts["wanted"] is None
    wanted = facts_of(command("forecast", _results(tmp_path), "--method", "KD", "--accuracy", 0.83, "--json"))
    assert wanted["forecasts"] == []
    assert "price" not in wanted["wanted"], "results state no price"
    assert not [path for path in tmp_path.iterdir() if path.name != "results.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--method: expected the label of a row of"),
        (("--method", "MSE"), "--method: expected one of CE, KD, got 'MSE'"),
        (("--method", "KD", "--seeds", 4), "--seeds: expected no value, because"),
        (("--method", "KD", "--set", "budget.n=4"), "--set: expected no value, because"),
        (("--method", "KD", "--n", 2001), "--n: expected at most 2,000, 4 times the largest size measured, got 2,001"),
        (("--method", "KD", "--accuracy", 0.99), "--accuracy: expected at most"),
    ],
)
def test_mistake_in_an_option_is_status_2(
    command: Command, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    ended = command("forecast", _results(tmp_path), *options)
    assert ended.status == 2
    assert message in ended.stderr


def test_three_sizes_are_too_few(command: Command, tmp_path: Path) -> None:
    ended = command("forecast", _results(tmp_path, ("KD",), SIZES[1:]))
    assert ended.status == 2
    assert "expected KD at 4 sizes or more, got 3 (125, 250, 500)" in ended.stderr


def test_file_of_a_run_has_one_method(command: Command, config: Path) -> None:
    ended = command("forecast", config, "--method", "KD")
    assert ended.status == 2
    assert "--method: expected no value, because" in ended.stderr
