"""What `demo`, `compare` and `forecast` do: train many students."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from distill_worker.cli import agreed_purchase
from distill_worker.cli.console import TERMINAL, say
from distill_worker.cli.tables.experiments import show_comparison, show_demo
from distill_worker.cli.tables.forecast import show_forecast
from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.cells import load_comparison
from distill_worker.experiments.comparison.compare import run_comparison
from distill_worker.experiments.demo import Demo, run_demo
from distill_worker.experiments.forecast.answers import Price, answers
from distill_worker.experiments.forecast.forecast import Forecast
from distill_worker.experiments.forecast.measured_curve import curve_of
from distill_worker.experiments.forecast.nested_sizes import NestedSizes
from distill_worker.experiments.results.facts_file import read_facts
from distill_worker.runs import purchase

_SEEDS: Final = 3
"""Students of each size of a forecast."""


def demo(data: str, *, n: int | None, seeds: int, quota: int | None, directory: Path, as_json: bool) -> None:
    """Train a teacher, serve it behind a quota, buy n outputs, and compare students: CE, KD, CKD and auto."""
    facts = run_demo(Demo.of(data, n=n, seeds=seeds, quota=quota, directory=directory), TERMINAL)
    if as_json:
        print(json.dumps(facts))
    else:
        show_demo(facts)


def compare(
    comparison_file: Path,
    settings: Mapping[str, Any],
    *,
    max_calls: int | None,
    yes: bool,
    fresh: bool,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Train many methods on the same bought samples, over several n and seeds; print the tables.

    `settings` are those of `[compare]` that the command line states; None states nothing.
    """
    comparison = load_comparison(comparison_file, settings, on_note=say)
    address, is_local = comparison.cells[0].config.teacher, comparison.compare.teacher is not None
    consent = agreed_purchase.Consent(yes or (is_local and address.price_per_call is None), max_calls)
    source = None if is_local else purchase.Source.of(address)
    facts = run_comparison(
        comparison,
        fresh=fresh,
        max_calls=max_calls,
        on_plan=lambda plan: agreed_purchase.agree(plan, consent, source=source, is_counted=True),
        display=TERMINAL,
    )
    if as_json:
        print(json.dumps(facts))
    else:
        show_comparison(facts, as_markdown=as_markdown)


def forecast(
    file: Path,
    overrides: Sequence[str],
    *,
    n: int | None,
    accuracy: float | None,
    method: str | None,
    seeds: int | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Say what more calls would give, from the file of a run or from the results of a comparison."""
    price = None
    if file.suffix == ".json":
        _check_absent({"--seeds": seeds, "--set": overrides or None, "--fresh": fresh or None}, f"{file} has results")
        made = Forecast(curve_of(read_facts(file), method, source=str(file)))
    else:
        _check_absent({"--method": method}, f"{file} is the file of a run, which has one method")
        nested = NestedSizes(file, overrides, seeds=seeds or _SEEDS, on_note=say)
        address = nested.config.teacher
        if nested.config.needs_teacher and address.price_per_call is not None:
            price = Price(address.price_per_call, address.currency)
        curve, pool = nested.measured(fresh=fresh, display=TERMINAL)
        made = Forecast(curve, pool=pool)
    facts = answers(made, n=n, accuracy=accuracy, price=price)
    if as_json:
        print(json.dumps(facts))
    else:
        show_forecast(facts)


def _check_absent(options: Mapping[str, Any], reason: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise ConfigError(f"{option}: expected no value, because {reason}, got {value!r}")
