"""A forecast in words, on standard output."""

import statistics
from collections.abc import Mapping
from typing import Any

from distill_worker.cli.console import answers
from distill_worker.cli.tables.buying import price_of
from distill_worker.cli.tables.rows import print_rows
from distill_worker.errors import counted
from distill_worker.experiments.results.table import accuracy_cell


def show_forecast(facts: Mapping[str, Any]) -> None:
    """Print what is measured, and what follows from it; `facts` is what `answers` returns."""
    print_rows(
        (f"{facts['method']}, {counted(facts['seeds'], 'student')} each", "test accuracy %"),
        [
            (f"n = {size['n']:,}", accuracy_cell([100 * one for one in size["accuracies"]]))
            for size in facts["measured"]
        ],
    )
    answers.print()
    for forecast in facts["forecasts"]:
        answers.print(_forecast(forecast), markup=False)
    if facts["wanted"] is not None:
        answers.print(_wanted(facts), markup=False)
    if facts["forecasts"] or facts["wanted"]["calls"]:
        answers.print(
            "in brackets is the band: it is meant to hold in four of five cases, for the mean accuracy of "
            f"{counted(facts['seeds'], 'student')} on the test data"
        )


def _forecast(forecast: Mapping[str, Any]) -> str:
    low, high = (f"{100 * forecast[end]:.1f}" for end in ("low", "high"))
    return f"{forecast['n']:,} calls will give {_percent(forecast['accuracy'])} ({low} to {high})"


def _wanted(facts: Mapping[str, Any]) -> str:
    wanted, largest = facts["wanted"], facts["measured"][-1]
    if not wanted["calls"]:
        has = _percent(statistics.mean(largest["accuracies"]))
        return f"{_percent(wanted['accuracy'])} is reached: {has} with the {largest['n']:,} samples that are bought"
    calls, low = _about(wanted["calls"]), _about(wanted["low"])
    most = facts["farthest"] - largest["n"]
    high = f"more than {most:,}" if wanted["high"] is None else f"{_about(wanted['high']):,}"
    price = ""
    if "price_per_call" in wanted:
        price = f", that costs {price_of(calls, wanted['price_per_call'], wanted['currency'])}"
    first = _about(wanted["next_purchase"])
    return (
        f"for {_percent(wanted['accuracy'])} buy about {calls:,} more calls ({low:,} to {high}){price}; "
        f"buy {first:,} and ask again"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _about(calls: int) -> int:
    """A number with its first two digits."""
    return int(float(f"{calls:.2g}"))
