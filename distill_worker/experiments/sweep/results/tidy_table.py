"""The results of a sweep as one tidy table: one row a student, with the axes as columns; in CSV, and in Parquet."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from distill_worker.errors import RunError
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.results.validation_choice import CHOSEN, result_of
from shared.atomic_file import atomic_replacement
from shared.durable.signed_lock import own_partial_path

Row = dict[str, Any]

_PLACE: Final = ("method", "track", "n", "seed")
_RESULTS: Final = ("accuracy", "calls", "steps", "seconds", "validation_accuracy")
CSV, PARQUET = "results.csv", "results.parquet"


def tidy_rows(grid: Mapping[str, Any], directory: SweepDirectory) -> list[Row]:
    """One row for each student of `sweep.json` that has a result, in the order of the grid.

    The columns: the axes; `method` (the label of the row), `track`, `n`, `seed`; `accuracy` (a share of 1), `calls`,
    `steps`, `seconds`; if values are chosen by validation, `validation_accuracy`; `id`.
    """
    finished = directory.finished()
    students = [student for student in grid["students"] if student["id"] in finished]
    return [_row(student, result_of(student, grid, directory)) for student in students]


def write_tables(rows: Sequence[Row], folder: Path) -> str | None:
    """Write `results.csv`, and `results.parquet` where pyarrow is installed; otherwise a line that says so.

    Processes that end at the same time write the same tables.

    Raises:
        RunError: the folder cannot be written.
    """
    if not rows:
        return None
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        with atomic_replacement(folder / CSV, partial=own_partial_path(folder / CSV)) as partial:
            partial.write_text(text.getvalue(), encoding="utf-8")
        try:
            from pyarrow import Table, parquet
        except ImportError:
            return f"{PARQUET} was not written: it needs pyarrow; run: uv pip install 'tuition[parquet]'"
        with atomic_replacement(folder / PARQUET, partial=own_partial_path(folder / PARQUET)) as partial:
            parquet.write_table(Table.from_pylist(list(rows)), partial)
    except OSError as error:
        raise RunError(f"{folder}: cannot write the results ({error.strerror or error})") from error
    return None


def _row(student: Mapping[str, Any], result: Mapping[str, Any]) -> Row:
    return {
        **student["point"],
        **student.get(CHOSEN, {}),
        **{name: student[name] for name in _PLACE},
        **{name: result[name] for name in _RESULTS if name in result},
        "id": student["id"],
    }
