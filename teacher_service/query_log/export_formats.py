"""The rows of an export as JSON lines, CSV or Parquet, written one after the other.

Clients choose their Idempotency-Keys, and a spreadsheet executes a cell that begins like a formula. So in CSV, a ' is
put before text that begins with one of = + - @ ' or white space; remove it to get the text back.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO, Final

from shared.times import iso, utc
from teacher_service.query_log.export import COLUMNS, NUMBERS, TIMES

_FORMULAS: Final = tuple("=+-@'\t\r\n ")
_ROWS_A_GROUP: Final = 20_000

Write = Callable[[Iterable[Mapping[str, Any]], BinaryIO], None]
"""Writes rows to a file, and does not close it."""


class MissingExtra(Exception):
    """The format needs a package that is not installed."""


def _jsonl(rows: Iterable[Mapping[str, Any]], file: BinaryIO) -> None:
    for row in rows:
        file.write(json.dumps(_readable(row)).encode() + b"\n")


def _csv(rows: Iterable[Mapping[str, Any]], file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(_safe(value) for value in _readable(row).values())
    text.flush()
    text.detach()


def _parquet(rows: Iterable[Mapping[str, Any]], file: BinaryIO) -> None:
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise MissingExtra("format: parquet needs pyarrow; install it with `pip install tuition[parquet]`") from error
    kinds = {name: pa.int64() for name in NUMBERS} | {name: pa.timestamp("us", tz="UTC") for name in TIMES}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    with ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups({**row, **_times(row, utc)} for row in rows):
            writer.write_table(pa.Table.from_pylist(group, schema))


FORMATS: Final[Mapping[str, Write]] = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **_times(row, lambda at: iso(at, "microseconds"))}


def _times(row: Mapping[str, Any], convert: Callable[[float], Any]) -> dict[str, Any]:
    return {name: None if row[name] is None else convert(row[name]) for name in TIMES}


def _safe(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    iterator = iter(rows)
    while group := list(islice(iterator, _ROWS_A_GROUP)):
        yield group
