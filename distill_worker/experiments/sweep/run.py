"""Run a sweep: buy what all students learn from, share their training with other processes, and collect the results."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from distill_worker.experiments.comparison.compare import configs_to_check, facts_of
from distill_worker.experiments.comparison.students import train_students
from distill_worker.experiments.display import SILENCE, Display
from distill_worker.experiments.engines import opened_engine
from distill_worker.experiments.failure_signs.several_teachers import several_teachers
from distill_worker.experiments.sweep.answers import METHOD, answers
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.grid import Point, Sweep
from distill_worker.experiments.sweep.purchases import Bought, Offer, OnOffers, buy_all, checked_runs
from distill_worker.experiments.sweep.shared_training import train_shared
from distill_worker.experiments.sweep.students import Grid, Source, Student, each_once, resolved_grid
from distill_worker.experiments.sweep.tidy_table import tidy_rows, write_tables
from distill_worker.runs import preflight
from distill_worker.runs.resolution import note_of

_NO_TEACHER: Mapping[str, Any] = {"id": None, "outputs": []}


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
    directory.claim(_claimed(sweep, grid), extend=extend)
    for line in dict.fromkeys(note_of(student.cell.config.training) for student in grid.students):
        display.note(line)
    students = each_once(grid.students)
    finished = directory.finished()
    pending = [student for student in students if student.id not in finished]
    bought = Bought({}, 0, 0)
    if pending:
        bought = _trained(sweep, grid, pending, directory, len(students), on_offers, display)
    rows = tidy_rows(grid.students, directory)
    if (note := write_tables(rows, directory.path)) is not None:
        display.note(note)
    outcome = {
        "calls_paid": bought.calls_paid,
        "cache_hits": bought.cache_hits,
        "seconds": round(time.perf_counter() - started, 1),
    }
    warnings = [several_teachers(_teacher_ids(source, directory)) for source in grid.sources]
    return {
        "directory": str(directory.path),
        "axes": list(sweep.axes),
        "rows": rows,
        "question": sweep.question,
        "answers": answers(rows, sweep.axes, sweep.compares, _bases(sweep)),
        "points": [_facts_of_point(point, grid, directory, outcome) for point in grid.points],
        "warnings": [line for line in warnings if line is not None],
        **outcome,
    }


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
    cells = [student.cell for student in pending]
    with opened_engine(sweep.compare, cells[0].config.training, display.note) as engine:
        for config in configs_to_check(cells):
            engine.check(config)
        select = partial(train_students, engine=engine, directory=directory.path, fresh=False, display=display)
        bought = buy_all(sources, runs, directory, select, display=display, on_offers=on_offers)
        train_shared(pending, bought.inputs, directory, engine, display=display, total=total)
    return bought


def _sources_of(grid: Grid, pending: Sequence[Student]) -> list[Source]:
    """The sources of the students that have no result, each with its own."""
    sources = [source.with_students([one for one in pending if one.source == source.id]) for source in grid.sources]
    return [source for source in sources if source.students]


def _teacher_ids(source: Source, directory: SweepDirectory) -> list[str | None]:
    """Of the students of a source; results of earlier versions do not name their teacher."""
    return [directory.result(student.id).get("teacher_id") for student in each_once(source.students)]


def _claimed(sweep: Sweep, grid: Grid) -> dict[str, Any]:
    """What `sweep.json` holds."""
    return {
        "version": 1,
        "settings": dict(sweep.settings),
        "axes": list(sweep.axes),
        "settled": dict(grid.settled),
        "students": [student.facts() for student in grid.students],
    }


def _facts_of_point(point: Point, grid: Grid, directory: SweepDirectory, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of one point as those of a comparison."""
    students = [student for student in grid.students if student.values == point.values]
    source = directory.source(students[0].source) or {"teacher": _NO_TEACHER}
    results = [
        {
            "method": student.cell.label,
            "track": student.cell.config.data_used,
            "n": student.cell.n,
            "seed": student.cell.seed,
            **directory.result(student.id),
        }
        for student in students
    ]
    facts = facts_of(point.comparison, {**source, "quota": None, **outcome, "results": results})
    return {"point": dict(point.values), **facts}
