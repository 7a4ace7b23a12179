"""A run whose settings cannot be chosen is an error of its configuration, before anything is spent."""

from typing import Any

import pytest

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.config.stages.tuning import Tuning
from distill_worker.errors import ConfigError


def _config(tuning: dict[str, Any] | None, **sections: Any) -> RunConfig:
    document = {"data": {"name": "digits"}, "student": {"network": "resnet8"}, "method": {"name": "kd"}, **sections}
    return parse_config(document if tuning is None else {**document, "tuning": tuning}, source="test")


def test_empty_section_has_the_default_grid() -> None:
    assert _config({}).tuning == Tuning()
    assert _config(None).tuning is None


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"method": {"name": "ce"}}, "tuning: expected a method that learns from bought outputs, .*, got ce"),
        (
            {"method": {"name": "mixup", "targets": "requeried", "mixtures": 5}},
            "tuning: expected no bought mixtures, because a mixture belongs to no fold, got mixup",
        ),
        ({"track": "labelled-pool"}, "tuning: expected the track queried or unlabelled-pool, .*, got 'labelled-pool'"),
        ({"training": {"stop_after_steps": 5}}, r"tuning: expected no training\.stop_after_steps, .*, got 5"),
        ({"training": {"protocol": "paper"}}, "tuning: expected training.protocol = 'steps', .*, got 'paper'"),
    ],
)
def test_run_that_cannot_be_tuned_is_an_error(sections: dict[str, Any], message: str) -> None:
    _config(None, **sections)
    with pytest.raises(ConfigError, match=message):
        _config({}, **sections)


@pytest.mark.parametrize(
    "method",
    [
        {"name": "rkd", "on": "log_probabilities"},
        {"name": "crd", "on": "log_probabilities"},
        {"name": "mse"},
        {"name": "ckd", "divergence": "mse"},
    ],
)
def test_temperatures_need_a_method_that_has_one(method: dict[str, Any]) -> None:
    """The temperature of crd is not one of outputs, and squared error has none."""
    with pytest.raises(ConfigError, match=rf"tuning\.temperatures: expected no value, .*, got {method['name']}"):
        _config({"temperatures": [1, 4]}, method=method)
    assert _config({"temperatures": [1, 4]}, method=method, plus=[{"name": "kd"}]).tuning


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ({"folds": 1}, r"tuning\.folds: .*2.*got 1"),
        ({"eta": 1}, r"tuning\.eta: .*2.*got 1"),
        ({"trials": 0}, r"tuning\.trials: .*got 0"),
        ({"learning_rates": [0.1, 0]}, r"tuning\.learning_rates\.1: .*got 0"),
        ({"weight_decays": [-1]}, r"tuning\.weight_decays\.0: .*got -1"),
        ({"term_weights": [0]}, r"tuning\.term_weights\.0: .*got 0"),
        ({"steps": [10, 10]}, r"tuning\.steps: expected different values, got \[10, 10\]"),
        ({"learning_rate": [0.1]}, r"tuning\.learning_rate: unknown key; .*did you mean 'learning_rates'"),
    ],
)
def test_bad_value_names_its_key(tuning: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _config(tuning)
