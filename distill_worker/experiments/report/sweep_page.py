"""The page of a sweep: its question and its answer, what the axes change, what it cost, and how to repeat it."""

import statistics
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from distill_worker.errors import RunError, counted
from distill_worker.experiments.report.charts.sweep import sweep_charts
from distill_worker.experiments.report.comparison_page import about, students_table, tables_of, values_table
from distill_worker.experiments.report.page import rendered
from distill_worker.experiments.report.report import Report, Table
from distill_worker.experiments.report.toml_text import toml
from distill_worker.experiments.report.wording import accuracy_of_teacher, duration, percent

_MOST_FAILURES: Final = 3


def report_of_sweep(facts: Mapping[str, Any]) -> Report:
    """The report of a sweep, which need not be finished; `facts` as of `facts_of_sweep`.

    Raises:
        RunError: no student has a result.
    """
    if not facts["rows"]:
        raise RunError(
            f"{facts['directory']}: expected a sweep with results, got one without; {facts['command']} trains its "
            "students, and with --status it says how far they are"
        )
    title, answer, sentences = _title(facts), _answer(facts), facts["answers"][:-1]
    bought, charts, tables = _bought(facts), list(sweep_charts(facts)), _tables(facts)
    missing, warnings = _missing(facts), _warnings(facts)
    html = rendered(
        "sweep.html.j2",
        {
            "title": title,
            "question": facts["question"],
            "answer": answer,
            "answers": sentences,
            "figures": _key_figures(facts),
            "missing": missing,
            "warnings": warnings,
            "bought": bought,
            "charts": charts,
            "tables": tables,
            "students": students_table(facts["rows"], facts["axes"]),
            "about": _about(facts),
            "command": facts["command"],
            "directory": facts["directory"],
            "file": toml(facts["file"]),
        },
    )
    question = [facts["question"]] if facts["question"] else []
    values = values_table(facts["rows"], list(facts["rows"][0]))
    return Report(title, [*question, answer, *sentences, *missing, *warnings], [bought, *tables], values, charts, html)


def _title(facts: Mapping[str, Any]) -> str:
    axes = f" by {', '.join(facts['axes'])}" if facts["axes"] else ""
    return f"Sweep on {', '.join(dict.fromkeys(source['data'] for source in facts['sources']))}{axes}"


def _answer(facts: Mapping[str, Any]) -> str:
    """How many of the differences are significant; where none can be tested, the best row."""
    if facts["answers"]:
        last: str = facts["answers"][-1]
        return last
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in facts["rows"]:
        place = [f"{axis} = {row[axis]}" for axis in facts["axes"]]
        groups.setdefault((row["method"], *place, f"n = {row['n']:,}"), []).append(row["accuracy"])
    best, accuracies = max(groups.items(), key=lambda one: statistics.mean(one[1]))
    return f"{', '.join(best)} is the highest: {percent(statistics.mean(accuracies))}. No difference can be tested."


def _warnings(facts: Mapping[str, Any]) -> list[str]:
    """The signs of failure of the sweep, and of each point, which is named."""
    of_points = [
        f"{point['title']}: {line}" if point["title"] else line
        for point in facts["points"]
        for line in point["warnings"]
    ]
    return [*facts["warnings"], *of_points]


def _missing(facts: Mapping[str, Any]) -> list[str]:
    """What a sweep lacks that is not finished, in sentences."""
    students = facts["students"]
    if students["done"] == students["all"]:
        return []
    number, failures = students["all"] - students["done"], list(facts["failures"].values())
    more = [f"{len(failures) - _MOST_FAILURES} more failed."] if len(failures) > _MOST_FAILURES else []
    return [
        f"{number} of {counted(students['all'], 'student')} have no result yet. Charts and tables of a point have the "
        "sizes n at which all of its students have one. The answer compares the seeds that have one.",
        *(f"Failed: {error}" for error in failures[:_MOST_FAILURES]),
        *more,
    ]


def _key_figures(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The name, value and meaning of the numbers that stand first."""
    students, rows, samples = facts["students"], facts["rows"], _samples(facts)
    done = dict.fromkeys(f"{students[name]:,}" for name in ("done", "all"))
    seeds = {row["seed"] for row in rows}
    meaning = f"{counted(len(facts['points']), 'point')}, {counted(len(seeds), 'seed')}"
    return [
        ("Students", " of ".join(done), meaning),
        ("Calls bought", "unknown" if samples is None else f"{samples:,}", _price(facts, samples)),
        ("Training", duration(students["seconds"]), "all students, one by one"),
        *_accuracy_of_teachers(facts),
    ]


def _accuracy_of_teachers(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    teachers = [source["teacher"] for source in facts["sources"] if "accuracy" in source["teacher"]]
    ends = [percent(end(teacher["accuracy"] for teacher in teachers)) for end in (min, max) if teachers]
    networks = ", ".join(dict.fromkeys(teacher["network"] for teacher in teachers))
    return [("Teacher", " to ".join(dict.fromkeys(ends)), networks)] if teachers else []


def _samples(facts: Mapping[str, Any]) -> int | None:
    """The samples that were bought, of all teachers; None if it is not stored."""
    if any(source["samples"] is None for source in facts["sources"]):
        return None
    of_teacher: dict[str | None, int] = {}
    for source in facts["sources"]:  # two data sets of one teacher each have the number of both, as it was then
        teacher = source["teacher"]["id"]
        of_teacher[teacher] = max(of_teacher.get(teacher, 0), source["samples"])
    return sum(of_teacher.values())


def _price(facts: Mapping[str, Any], samples: int | None) -> str:
    if facts["price"] is None or samples is None:
        return "once, for all points"
    price = facts["price"]
    return f"{Decimal(str(price['per_call'])) * samples:,.2f} {price['currency']}, at {price['per_call']:g} each"


def _bought(facts: Mapping[str, Any]) -> Table:
    """The teachers, what was bought of them, and how many points learn from it."""
    rows = [
        (
            teacher["id"] or "none",
            teacher.get("network", "-"),
            accuracy_of_teacher(teacher) or "-",
            source["data"],
            ", ".join(teacher["outputs"]) or "-",
            "unknown" if source["samples"] is None else f"{source['samples']:,}",
            str(source["points"]),
        )
        for source in facts["sources"]
        for teacher in [source["teacher"]]
    ]
    heading = ("teacher", "network", "test accuracy", "data", "outputs", "samples", "points")
    return Table("What was bought, of which teacher", heading, rows)


def _tables(facts: Mapping[str, Any]) -> list[Table]:
    """The tables of every point, which names them."""
    return [
        replace(table, title=f"{point['title']}: {table.title}" if point["title"] else table.title)
        for point in facts["points"]
        if point["n"]
        for table in tables_of(point)
    ]


def _about(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was compared, at all points, and the versions."""
    values: dict[str, dict[str, None]] = {}
    for point in facts["points"]:
        for name, value in about(point):
            values.setdefault(name, {}).update({value: None} if value else {})
    choices = [("chosen by validation", " ".join(facts["choices"]))] if facts["choices"] else []
    return [*((name, "; ".join(of_name)) for name, of_name in values.items()), *choices, *facts["versions"].items()]
