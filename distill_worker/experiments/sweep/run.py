"""Run a sweep: buy what all students learn from, share their training with other processes, and collect the results."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from distill_worker.config.teacher_address import TeacherAddress
from distill_worker.experiments.comparison.compare import compared_facts, configs_to_check
from distill_worker.experiments.display import SILENCE, Display
from distill_worker.experiments.engines import opened_engine
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.grid import Point, Sweep
from distill_worker.experiments.sweep.purchases import Bought, Offer, OnOffers, checked_runs
from distill_worker.experiments.sweep.results.answers import METHOD
from distill_worker.experiments.sweep.results.facts import facts_of_sweep
from distill_worker.experiments.sweep.results.tidy_table import tidy_rows, write_tables
from distill_worker.experiments.sweep.rounds import bought_in_rounds
from distill_worker.experiments.sweep.shared_training import check_none_failed, train_shared
from distill_worker.experiments.sweep.students import Grid, Source, Student, each_once, resolved_grid
from distill_worker.runs import preflight
from distill_worker.runs.resolution import note_of
from distill_worker.teachers.http_errors import public_url
from distill_worker.training.trackers.named import tracker_named


def within_quotas(offers: Sequence[Offer]) -> None:
    """Check the plans of purchases that need no agreement. Raises `PlanRefused`."""
    for offer in offers:
        preflight.check_plan(offer.plan)


def run_sweep(
    sweep: Sweep, *, extend: bool = False, on_offers: OnOffers = within_quotas, display: Display = SILENCE
) -> dict[str, Any]:
    """Run a sweep, or what is left of it; its facts, JSON-able: `rows`, `answers`, `points`, `warnings`, and others.

    Args:
        sweep: what to run.
        extend: whether the directory may hold another grid, whose students stay.
        on_offers: gets the plans of all purchases at addresses before the first call.
        display: shows the progress.

    Raises:
        RunError: the directory holds another grid, or some students failed.
        WorkerError: see `run_comparison`.
    """
    started = time.perf_counter()
    directory = SweepDirectory(sweep.directory)
    grid = resolved_grid(sweep, directory)
    claimed = _claimed(sweep, grid)
    directory.claim(claimed, extend=extend)
    for line in dict.fromkeys(note_of(student.cell.config.training) for student in grid.students):
        display.note(line)
    students = each_once(grid.students)
    finished = directory.finished()
    pending = [student for student in students if student.id not in finished]
    bought = Bought({}, 0, 0)
    if pending:
        bought = _trained(sweep, grid, pending, directory, len(students), on_offers, display)
    facts = facts_of_sweep(claimed, directory)
    if (note := write_tables(tidy_rows(claimed, directory), directory.path)) is not None:
        display.note(note)
    outcome = {
        "calls_paid": bought.calls_paid,
        "cache_hits": bought.cache_hits,
        "seconds": round(time.perf_counter() - started, 1),
    }
    return {**facts, "points": [point | outcome for point in facts["points"]], **outcome}


def _bases(sweep: Sweep) -> dict[str, str]:
    """What the values of a column are compared with, where it is not the first one."""
    baseline = sweep.compare.baseline
    return {} if baseline is None else {METHOD: baseline}


def _trained(
    sweep: Sweep,
    grid: Grid,
    pending: Sequence[Student],
    directory: SweepDirectory,
    total: int,
    on_offers: OnOffers,
    display: Display,
) -> Bought:
    sources = _sources_of(grid, pending)
    runs = checked_runs(sources)
    for name in sweep.compare.trackers:  # checks that it can be used
        tracker_named(name)
    cells = [student.cell for student in pending]
    with opened_engine(sweep.compare, cells[0].config.training, display.note) as engine:
        for config in configs_to_check(cells):
            engine.check(config)
        bought, unselected = bought_in_rounds(sources, runs, directory, engine, display=display, on_offers=on_offers)
        ready = [student for student in pending if student.id not in unselected]
        untrained = train_shared(ready, bought.inputs, directory, engine, display=display, total=total)
    check_none_failed({**unselected, **untrained}, len(pending))
    return bought


def _sources_of(grid: Grid, pending: Sequence[Student]) -> list[Source]:
    """The sources of the students that have no result, each with its own."""
    sources = [source.with_students([one for one in pending if one.source == source.id]) for source in grid.sources]
    return [source for source in sources if source.students]


def _claimed(sweep: Sweep, grid: Grid) -> dict[str, Any]:
    """What `sweep.json` holds."""
    return {
        "version": 1,
        "settings": dict(sweep.settings),
        "axes": list(sweep.axes),
        "question": sweep.question,
        "compares": list(sweep.compares),
        "chosen_by_validation": list(sweep.chosen_by_validation),
        "bases": _bases(sweep),
        "price": _price(grid.students[0].cell.config.teacher),
        "command": sweep.command,
        "file": _without_secrets(sweep.document),
        "settled": dict(grid.settled),
        "points": [_claimed_point(point, grid) for point in grid.points],
        "students": [student.facts() for student in grid.students],
    }


def _price(teacher: TeacherAddress) -> dict[str, Any] | None:
    price = teacher.price_per_call
    return None if price is None else {"per_call": price, "currency": teacher.currency}


def _claimed_point(point: Point, grid: Grid) -> dict[str, Any]:
    """What is compared at a point, and the id of its data and teacher."""
    source = next(student.source for student in grid.students if student.values == point.values)
    return {"point": dict(point.values), "source": source, **compared_facts(point.comparison)}


def _without_secrets(value: Any) -> Any:
    """A value of a TOML file whose URLs have neither a password nor a query."""
    if isinstance(value, Mapping):
        return {key: _without_secrets(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_secrets(part) for part in value]
    return public_url(value) if isinstance(value, str) and "://" in value else value
