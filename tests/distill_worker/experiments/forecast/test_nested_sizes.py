"""The runs that a forecast makes of a run: parts of the same purchase, nested as smaller purchases are."""

from pathlib import Path

import pytest

from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.students import runs_of
from distill_worker.experiments.forecast.nested_sizes import NestedSizes
from distill_worker.methods import method_name

RUN = """
data.name = "digits"
student.network = "resnet8"
budget = {n = 33, seed = 7}
training = {steps = 3, batch_size = 8, device = "cpu", learning_rate = 0.01}
output = {directory = "run", cache = "bought.sqlite"}
"""
CKD = 'method = {name = "ckd", beta = 2}\n[[plus]]\nname = "kd"\n'


def _file(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_parts_are_of_one_method_one_purchase_and_one_folder(tmp_path: Path) -> None:
    """The seed of the samples is that of the run, and the seeds of the students are 0 and 1."""
    nested = NestedSizes(_file(tmp_path, RUN + CKD), ["training.steps=5"], seeds=2)
    cells = nested.comparison.cells
    assert [(cell.n, cell.seed) for cell in cells] == [(n, seed) for n in (4, 8, 16, 33) for seed in (0, 1)]
    for cell in cells:
        config = cell.config
        assert (config.budget.n, config.budget.seed, config.training.seed) == (cell.n, 7, cell.seed)
        assert (config.training.steps, config.training.learning_rate) == (5, 0.01)
        assert config.methods == nested.config.methods
        assert config.output.cache == tmp_path / "bought.sqlite"
        assert config.output.directory.parent == tmp_path / "run" / "forecast" / "students"
    assert {cell.label for cell in cells} == {"ckd + kd"}


def test_smaller_parts_are_among_the_larger_and_all_among_what_the_run_buys(tmp_path: Path) -> None:
    nested = NestedSizes(_file(tmp_path, RUN + CKD), seeds=2)
    bought = [list(run.samples.wanted) for run in runs_of(nested.comparison.cells, fresh=False)[::2]]
    assert [len(keys) for keys in bought] == [4, 8, 16, 33]
    assert all(keys == bought[-1][: len(keys)] for keys in bought), "in the order of purchase"


def test_what_auto_chooses_follows_from_the_size(tmp_path: Path) -> None:
    nested = NestedSizes(_file(tmp_path, RUN), ["budget.rounds=1"], seeds=2)
    assert {cell.label for cell in nested.comparison.cells} == {"auto"}
    assert {method_name(cell.config.method) for cell in nested.comparison.cells} == {"kd"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.n=15", r"run\.toml: budget\.n: expected at least 16 samples for a forecast, got 15"),
        ("method.k=5", r"run\.toml, 'ckd \+ kd': method\.k: expected at most the batch \(4 samples\), got 5"),
    ],
)
def test_run_without_such_parts_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NestedSizes(_file(tmp_path, RUN + CKD), [override], seeds=2)


def test_run_in_rounds_has_no_parts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"budget\.rounds: expected 1 for a forecast, .* got 2"):
        NestedSizes(_file(tmp_path, RUN + CKD), ["budget.strategy=badge", "budget.rounds=2"], seeds=2)


def test_run_without_a_number_of_samples_has_no_parts(tmp_path: Path) -> None:
    text = RUN.replace("budget = {n = 33, seed = 7}", "") + CKD
    with pytest.raises(ConfigError, match=r"budget\.n: expected at least 16 samples for a forecast, got None"):
        NestedSizes(_file(tmp_path, text), seeds=2)
