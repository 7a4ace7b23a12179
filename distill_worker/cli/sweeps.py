"""What `sweep` does: train the students of a grid, and print its tables or how far it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from distill_worker.buying.plan import total
from distill_worker.cli import agreed_purchase
from distill_worker.cli.console import TERMINAL, progress_bar, say
from distill_worker.cli.tables.sweeps import show_status, show_sweep
from distill_worker.experiments.sweep.grid import load_sweep
from distill_worker.experiments.sweep.progress import status_of
from distill_worker.experiments.sweep.purchases import Offer
from distill_worker.experiments.sweep.run import run_sweep
from distill_worker.runs import purchase


def sweep(
    sweep_file: str,
    settings: Mapping[str, Any],
    *,
    extend: bool,
    quick: bool,
    yes: bool,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Run a sweep, or what is left of it; print the tables of every point.

    `settings` are those of `[compare]` that the command line states; None states nothing.
    """
    facts = run_sweep(
        load_sweep(sweep_file, settings, quick=quick, on_note=say),
        extend=extend,
        on_offers=partial(_agree, agreed_purchase.Consent(yes)),
        display=replace(TERMINAL, progress_bar=partial(progress_bar, shows_remaining_time=False)),
    )
    if as_json:
        print(json.dumps(facts))
    else:
        show_sweep(facts, as_markdown=as_markdown)


def status(sweep_file: str, *, quick: bool, as_json: bool) -> None:
    """Print how far a sweep is."""
    facts = status_of(load_sweep(sweep_file, quick=quick))
    if as_json:
        print(json.dumps(facts))
    else:
        show_status(facts)


def _agree(consent: agreed_purchase.Consent, offers: Sequence[Offer]) -> None:
    """Get the consent to all purchases of a sweep; those of one teacher are one plan, which its quota must pay for."""
    plans: dict[str, list[Offer]] = {}
    for offer in offers:
        plans.setdefault(offer.plan.teacher_id, []).append(offer)
    agreed_purchase.agree_to_all(
        [
            (
                replace(total([one.plan for one in same]), later=sum(one.plan.later for one in same)),
                purchase.Source.of(same[0].address),
            )
            for same in plans.values()
        ],
        consent,
    )
