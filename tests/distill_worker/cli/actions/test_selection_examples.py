"""The comparisons of strategies in examples/fewer-calls: the same rows in each, all of them trained in a few steps."""

from pathlib import Path

import pytest

from distill_worker.data.selection import STRATEGIES
from distill_worker.experiments.comparison.cells import Cell, load_comparison
from tests.distill_worker.cli.conftest import Command, facts_of

_FOLDER = Path(__file__).parents[4] / "examples" / "fewer-calls"
_NAMES = ("digits", "fashion-mnist", "glyphs")
_SHORTER = {
    'directory = "../../runs/fewer-calls/selection-digits"': 'directory = "compared"',
    "n = [50]": "n = [12]",
    "seeds = 5": "seeds = 2",
    "steps = 400": "steps = 2\nbatch_size = 6\nlearning_rate = 0.01\ndevice = 'cpu'\nprecision = 'float32'",
    'network = "resnet8x4"': 'network = "resnet8"',
    "steps = 300": "steps = 20",
    "rounds = 4": "rounds = 2",
}
"""What makes the comparison short, by what the file has in its place."""


def _cells(name: str) -> list[Cell]:
    return load_comparison(_FOLDER / f"selection-{name}.toml").cells


@pytest.mark.parametrize("name", _NAMES)
def test_rows_are_every_strategy_with_one_method_and_seeds_of_their_own(name: str) -> None:
    cells = _cells(name)
    assert {cell.config.budget.strategy for cell in cells} == set(STRATEGIES)
    assert len({cell.config.methods for cell in cells}) == 1
    assert {(cell.config.budget.seed, cell.config.training.seed) for cell in cells} == {(i, i) for i in range(5)}
    assert {cell.config.budget.rounds for cell in cells if cell.config.budget.needs_student} == {2, 4}
    own = {cell.label: cell.config.budget.model_dump(exclude={"n"}) for cell in cells}
    assert own == {cell.label: cell.config.budget.model_dump(exclude={"n"}) for cell in _cells("digits")}


def test_shorter_example_is_trained_with_n_calls_a_student(command: Command, tmp_path: Path) -> None:
    """Its teacher is a real service, whose quota no row exceeds; the table has each row's gain and interval."""
    text = (_FOLDER / "selection-digits.toml").read_text()
    for full, short in _SHORTER.items():
        assert full in text, f"the example has changed: {full}"
        text = text.replace(full, short)
    (tmp_path / "digits.toml").write_text(text)
    facts = facts_of(command("compare", tmp_path / "digits.toml", "--json"))
    assert len(facts["results"]) == 2 * len({cell.label for cell in _cells("digits")})
    assert {result["calls"] for result in facts["results"]} == {12}
    assert facts["quota"]["used"] == facts["calls_paid"] <= facts["quota"]["limit"] <= 12 * len(facts["results"])
    ended = command("compare", tmp_path / "digits.toml", "--markdown")
    assert "calls paid now: 0;" in ended.stdout
    rows = ended.stdout.partition("| against random | n = 12: points [95 % interval]")[2]
    assert all(f"\n| {result['method']} | " in rows for result in facts["results"] if result["method"] != "random")
