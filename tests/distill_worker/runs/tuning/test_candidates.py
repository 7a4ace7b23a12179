"""The grid of candidates, and what each changes in a run."""

from typing import Any

import pytest

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.tuning import Tuning
from distill_worker.methods import METHODS
from distill_worker.runs.tuning.candidates import Candidate, candidates


def _config(method: str = "kd", plus: tuple[str, ...] = ()) -> RunConfig:
    document: dict[str, Any] = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": method},
        "plus": [{"name": name} for name in plus],
    }
    return parse_config(document, source="test")


def test_default_grid_has_every_combination() -> None:
    grid = candidates(Tuning(), seed=0)
    assert len(grid) == len(set(grid)) == 4 * 4 * 3
    assert grid[0].settings() == {"term_weight": 1.0, "weight_decay": 5e-4, "learning_rate": 0.02}


def test_empty_list_leaves_a_setting_as_it_is() -> None:
    tuning = Tuning(term_weights=(), weight_decays=(), learning_rates=(0.1,), steps=(3, 9))
    assert candidates(tuning, seed=0) == [Candidate(learning_rate=0.1, steps=3), Candidate(learning_rate=0.1, steps=9)]


def test_no_list_leaves_the_configured_settings() -> None:
    [candidate] = candidates(Tuning(term_weights=(), weight_decays=(), learning_rates=()), seed=0)
    assert candidate.applied(_config()) == _config()
    assert str(candidate) == "the configured settings"


def test_larger_grid_is_drawn_from_by_seed() -> None:
    grid, tuning = candidates(Tuning(), seed=0), Tuning(trials=10)
    drawn = candidates(tuning, seed=0)
    assert len(drawn) == 10
    assert drawn == [candidate for candidate in grid if candidate in drawn], "in the order of the grid"
    assert drawn == candidates(tuning, seed=0)
    assert drawn != candidates(tuning, seed=1)


def test_candidate_changes_the_run() -> None:
    """Every term but that of the labels; every temperature of outputs; the training."""
    config = _config("kd", ("ckd", "crd", "rkd"))
    applied = Candidate(10.0, 2e-3, 0.1, 2.0, 7, "strong").applied(config)
    kd, ckd, crd, rkd = applied.methods
    assert (kd.term_weight, kd.label_weight) == (9.0, 0.1)
    assert (ckd.term_weight, crd.term_weight, rkd.term_weight) == (10.0, 8.0, 1.0)
    assert [method.model_dump()["temperature"] for method in (kd, ckd, crd)] == [2.0, 2.0, 0.07]
    assert (applied.training.weight_decay, applied.training.learning_rate, applied.training.steps) == (2e-3, 0.1, 7)
    assert applied.augmentation.policy == "strong"
    unchanged = {name: getattr(config, name) for name in ("training", "method", "plus", "augmentation")}
    assert applied.model_copy(update=unchanged) == config


@pytest.mark.parametrize("name", METHODS)
def test_weight_of_every_method_is_scaled(name: str) -> None:
    """And is still what a configuration may have."""
    method = METHODS[name]()
    scaled = method.scaled(3.0)
    assert scaled.label_weight == method.label_weight
    if name == "ce":
        assert scaled is method, "it has only the labels"
    else:
        assert scaled.term_weight == 3.0 * method.term_weight
        assert type(method).model_validate(scaled.model_dump()) == scaled


def test_candidate_reads_as_its_settings() -> None:
    assert str(Candidate(10.0, 2e-3, policy="strong")) == "term_weight 10, weight_decay 0.002, policy strong"
