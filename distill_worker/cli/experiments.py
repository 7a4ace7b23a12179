"""What `demo` and `compare` do: train many students."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_worker.cli import agreed_purchase
from distill_worker.cli.console import TERMINAL, say
from distill_worker.cli.tables.experiments import show_comparison, show_demo
from distill_worker.experiments.comparison.cells import load_comparison
from distill_worker.experiments.comparison.compare import run_comparison
from distill_worker.experiments.demo import Demo, run_demo
from distill_worker.runs import purchase


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
