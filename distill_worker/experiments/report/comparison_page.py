"""The page of a comparison: which method, how many calls, how sure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from distill_worker.errors import ConfigError, counted
from distill_worker.experiments.failure_signs.of_comparison import signs_of_comparison
from distill_worker.experiments.report.answers import answers_of
from distill_worker.experiments.report.charts.comparison import comparison_charts
from distill_worker.experiments.report.page import rendered
from distill_worker.experiments.report.report import Report, Table
from distill_worker.experiments.report.wording import accuracy_of_teacher, duration, percent
from distill_worker.experiments.results.facts_file import read_facts
from distill_worker.experiments.results.table import accuracy_rows, curve_rows, equivalent_rows, paired_rows

_WANTED: Final = "the directory of a finished run or of a sweep, or the JSON that compare --json or demo --json printed"
_NEEDED: Final = ("n", "seeds", "baseline", "reference", "teacher", "data")
_STUDENT: Final = ("method", "track", "n", "seed", "calls", "steps")
_VALUES: Final = (*_STUDENT, "accuracy", "seconds")
_DRAWS: Final = {True: "all seeds share one draw of samples", False: "each seed draws its own samples"}
"""What `same_samples` says, which earlier versions did not state."""


def read_comparison(file: Path) -> dict[str, Any]:
    """The facts that `compare --json` or `demo --json` printed into a file. Raises `ConfigError`."""
    if not file.exists():
        raise ConfigError(f"{file}: expected {_WANTED}, got neither")
    facts = read_facts(file)
    if missing := [name for name in _NEEDED if name not in facts]:
        raise ConfigError(f"{file}: expected {_WANTED}, got a file without {', '.join(missing)}")
    return facts


def report_of_comparison(facts: Mapping[str, Any], command: str | None = None) -> Report:
    """The report of a comparison.

    Args:
        facts: see `run_comparison` and `run_demo`.
        command: that made them, if it is known.
    """
    facts = {**facts, "n": [facts["n"]] if isinstance(facts["n"], int) else facts["n"]}
    answers, warnings = answers_of(facts), signs_of_comparison(facts)
    title, tables = f"Comparison on {facts['data']}", tables_of(facts)
    charts = list(comparison_charts(facts, answers[0]))
    html = rendered(
        "comparison.html.j2",
        {
            "title": title,
            "answer": answers[0],
            "answers": answers[1:],
            "warnings": warnings,
            "figures": key_figures(facts),
            "charts": charts,
            "tables": tables,
            "students": students_table(facts["results"]),
            "about": about(facts),
            "command": command,
        },
    )
    return Report(title, [*answers, *warnings], tables, values_table(facts["results"], _VALUES), charts, html)


def students_table(results: Sequence[Mapping[str, Any]], axes: Sequence[str] = ()) -> Table:
    """Every student, for people. `axes` are columns of a sweep."""
    names = (*axes, *_STUDENT)
    rows = [(*(str(one[name]) for name in names), percent(one["accuracy"]), f"{one['seconds']:.1f}") for one in results]
    return Table("Test accuracy and cost of every student", (*names, "accuracy", "seconds"), rows)


def values_table(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    """Every student, in full precision."""
    return Table("Students", names, [[str(one[name]) for name in names] for one in results])


def key_figures(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The name, value and meaning of the numbers that stand first."""
    rows = {result["method"] for result in facts["results"]}
    paid = facts["calls_paid"]
    figures = [
        ("Students", f"{len(facts['results']):,}", f"{counted(len(rows), 'row')}, {counted(facts['seeds'], 'seed')}"),
        ("Calls paid", "unknown" if paid is None else f"{paid:,}", f"{facts['cache_hits']:,} from the cache"),
        ("Wall time", duration(facts["seconds"]), "of the last command"),
    ]
    if accuracy := accuracy_of_teacher(facts["teacher"]):
        figures.append(("Teacher", accuracy, facts["teacher"].get("network", "")))
    return figures


def tables_of(facts: Mapping[str, Any]) -> list[Table]:
    """The tables that `compare` prints, each with what its cells are as its title."""
    made = [Table("Test accuracy in percent, mean ± standard deviation; calls; seconds", *accuracy_rows(facts))]
    if facts["baseline"] is not None and facts["seeds"] > 1:
        title = "paired t-test over the seeds, p without and with Holm's correction over the rows at each n"
        made.append(Table(f"Against {facts['baseline']}: {title}", *paired_rows(facts)))
    if (reference := facts["reference"]) is not None:
        made.append(Table(f"Calls that {reference} needs for the same accuracy", *equivalent_rows(facts)))
        made.append(Table(f"Test accuracy of {reference} by size, in percent", *curve_rows(facts)))
    return made


def about(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was compared."""
    teacher = facts["teacher"]
    rows = [
        ("data", facts["data"]),
        ("track", facts["track"]),
        ("student", facts["student"]),
        ("teacher", teacher.get("id") or "none"),
        ("teacher's network", teacher.get("network")),
        ("outputs", ", ".join(teacher.get("outputs", ())) or None),
        ("n", ", ".join(f"{n:,}" for n in facts["n"])),
        ("seeds", facts["seeds"]),
        ("samples", _DRAWS[facts["same_samples"]] if "same_samples" in facts else None),
        ("baseline", facts["baseline"]),
        ("reference", facts["reference"]),
        ("precision", facts.get("precision")),
    ]
    if facts.get("quota"):
        rows.append(("quota", f"{facts['quota']['remaining']:,} of {facts['quota']['limit']:,} remain"))
    return [(name, str(value)) for name, value in rows if value is not None]
