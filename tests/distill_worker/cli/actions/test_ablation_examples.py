"""The ablations in examples/fewer-calls: each row differs from what `auto` chooses today in its own part alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from distill_worker.config.run_config import RunConfig
from distill_worker.experiments.comparison.cells import load_comparison

_FOLDER = Path(__file__).parents[4] / "examples" / "fewer-calls"
_SELECTION = {"budget.strategy", "budget.rounds", "budget.first"}
_DIFFERENCES = {
    "random samples": {*_SELECTION, "self_training.policy"},
    "one round": {*_SELECTION, "self_training.policy"},
    "two rounds": {"budget.rounds"},
    "without comparisons": {"method.weight", "plus"},
    "the weights of ten classes": {"method.by_classes", "plus"},
    "usual weight decay": {"training.weight_decay"},
    "a fresh student": {"self_training.start"},
    "half the steps on the pool": {"training.steps", "self_training.member_steps"},  # a member takes as many, unstated
    "one member": {"self_training.members", "self_training.distorted_members"},
    "no distorted members": {"self_training.distorted_members"},
    "outputs not sharpened": {"self_training.sharpening"},
    "no distortion of the pool": {"self_training.policy"},
    "all of the pool distorted": {"self_training.policy"},
    "the whole pool": {"self_training.unsure_share"},
    "random samples, queried": _SELECTION,
    "one round, queried": _SELECTION,
    "without comparisons, queried": {"method.weight", "plus"},
    "usual weight decay, queried": {"training.weight_decay"},
    "with self-training, queried": {"self_training"},
}
_BESIDE = {"budget.features"}
"""Without a meaning where nothing is selected by features."""


def _flat(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value


def _differences(config: RunConfig, other: RunConfig) -> set[str]:
    own, others = dict(_flat(config.identity.values)), dict(_flat(other.identity.values))
    names = {name for name in own.keys() | others.keys() if own.get(name) != others.get(name)}
    return {"self_training"} if {"self_training.members", "self_training.start"} <= names else names - _BESIDE


@pytest.mark.parametrize("data", ["digits", "glyphs"])
def test_row_differs_from_auto_in_its_part_alone(data: str) -> None:
    cells = load_comparison(_FOLDER / f"ablation-{data}.toml").cells
    configs = {cell.label: cell.config for cell in cells if cell.seed == 0}
    for label, config in configs.items():
        if label not in ("auto", "auto, queried"):
            auto = configs["auto, queried" if label.endswith(", queried") else "auto"]
            assert _differences(config, auto) == _DIFFERENCES[label], label
