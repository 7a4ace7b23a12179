"""Whatever is wrong with a configuration, the message is ours: no word of pydantic, and what may have been meant."""

import re
from collections.abc import Callable, Iterator
from datetime import date
from itertools import chain
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.cells import parse_comparison
from distill_worker.experiments.comparison.compare_section import Compare

NUMBERS = (-1, 0, 1.5, float("inf"), float("nan"), 10**30)
BAD: tuple[Any, ...] = (*NUMBERS, "x y", "", True, [], [1], [1, 2, 3], ["a"], {"a": 1}, date(1979, 5, 27))
PYDANTIC = re.compile(r"\b(Input|String|Tuple|List|Dict(ionary)?|Value error|should|valid|parse|instance|tag)\b")
RUN: dict[str, Any] = {"data": {"name": "digits"}, "student": {"network": "resnet8"}, "method": {"name": "ckd"}}
COMPARISON: dict[str, Any] = {
    "data": {"name": "digits"},
    "student": {"network": "resnet8"},
    "compare": {"directory": "c", "n": [4], "methods": [{"label": "kd", "method": {"name": "kd"}}]},
}


def _fields(section: type[BaseModel], within: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in section.model_fields.items():
        yield (*within, name)
        outer = [field.annotation, *get_args(field.annotation)]
        for kind in [*outer, *chain.from_iterable(map(get_args, outer))]:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _fields(kind, (*within, name))


def _with(document: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    name, *rest = place
    if not rest:
        return {**document, name: value}
    inner = document.get(name, {})
    return {**document, name: _with(inner if isinstance(inner, dict) else {}, tuple(rest), value)}


def _message(parse: Callable[..., object], document: dict[str, Any]) -> str:
    try:
        parse(document, source="file.toml")
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("place", sorted(set(_fields(RunConfig))), ids=".".join)
def test_no_bad_value_of_a_run_is_answered_in_the_words_of_pydantic(place: tuple[str, ...]) -> None:
    messages = [_message(parse_config, _with(RUN, place, value)) for value in BAD]
    assert [message for message in messages if PYDANTIC.search(message)] == []


@pytest.mark.parametrize("place", sorted(set(_fields(Compare, ("compare",)))), ids=".".join)
def test_no_bad_value_of_a_comparison_is_answered_in_the_words_of_pydantic(place: tuple[str, ...]) -> None:
    messages = [_message(parse_comparison, _with(COMPARISON, place, value)) for value in BAD]
    assert [message for message in messages if PYDANTIC.search(message)] == []


@pytest.mark.parametrize(
    ("place", "value", "meant"),
    [
        ("budgets", {"n": 5}, "budget"),
        ("budget.strateggy", "random", "strategy"),
        ("training.learning-rate", 0.1, "learning_rate"),
        ("method.name", "CKD", "ckd"),
        ("method.pairing", "draw", "drawn"),
        ("data.name", "cifar_10", "cifar10"),
        ("budget.strategy", "k_center", "k-center"),
        ("track", "labeled-pool", "labelled-pool"),
        ("teacher.protocol", "open_inference", "open-inference"),
        ("training.schedule", "cosin", "cosine"),
    ],
)
def test_what_was_meant_is_named(place: str, value: Any, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        parse_config(_with(RUN, tuple(place.split(".")), value), source="run.toml")


def test_baseline_that_was_meant_is_named() -> None:
    with pytest.raises(ConfigError, match=r"compare\.baseline: expected one of kd, got 'KD'; did you mean 'kd'\?"):
        parse_comparison(_with(COMPARISON, ("compare", "baseline"), "KD"), source="compare.toml")
