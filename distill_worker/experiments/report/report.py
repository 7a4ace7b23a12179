"""A report: the same facts as a page, as Markdown, as CSV, and as files of its charts."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

from distill_worker.errors import ConfigError
from distill_worker.experiments.report.charts.chart import Chart
from distill_worker.experiments.results.table import markdown
from shared.atomic_file import atomic_replacement, write_atomically
from shared.durable.signed_lock import own_partial_path

Heading = Sequence[str]
Rows = Sequence[Sequence[str]]
FORMATS: Final = ("html", "markdown", "csv")


@dataclass(frozen=True)
class Table:
    """A table of a report."""

    title: str
    heading: Heading
    rows: Rows


@dataclass(frozen=True)
class Report:
    """What is known of a run or a comparison, in words, tables and charts."""

    title: str
    answers: Sequence[str]
    """Sentences, the most important first."""
    tables: Sequence[Table]
    values: Table
    """One fact, or one student, a row, in full precision."""
    charts: Sequence[Chart]
    html: str

    def text(self, file_format: str) -> str:
        """The report in one of `FORMATS`."""
        return {"html": lambda: self.html, "markdown": self._markdown, "csv": self._csv}[file_format]()

    def _markdown(self) -> str:
        tables = [f"## {table.title}\n\n{markdown(table.heading, _escaped(table.rows))}" for table in self.tables]
        return "\n\n".join([f"# {self.title}", *self.answers, *tables]) + "\n"

    def _csv(self) -> str:
        content = StringIO()
        csv.writer(content, lineterminator="\n").writerows([self.values.heading, *self.values.rows])
        return content.getvalue()


def write_report(report: Report, file: Path, file_format: str = "html") -> None:
    """Write a report to a file, which is replaced. Raises `ConfigError`."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(file, partial=own_partial_path(file)) as partial:  # processes of a sweep end together
            partial.write_bytes(report.text(file_format).encode())
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be written ({error.strerror or error}); free some space, or name another file by --output"
        ) from error


def write_charts(report: Report, folder: Path) -> list[Path]:
    """Write each chart as SVG and PNG; the files. Raises `ConfigError`."""
    files = [folder / f"{chart.name}.{suffix}" for chart in report.charts for suffix in ("svg", "png")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for chart in report.charts:
            write_atomically(folder / f"{chart.name}.svg", chart.svg)
            write_atomically(folder / f"{chart.name}.png", chart.png)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be written ({error.strerror or error}); free some space, or name another folder by "
            "--figures"
        ) from error
    return files


def _escaped(rows: Rows) -> Rows:
    """Cells that no Markdown reader takes for markup: names of classes may be any text."""
    marks = str.maketrans({"|": "\\|", "<": "&lt;", "\n": " "})
    return [[cell.translate(marks) for cell in row] for row in rows]
