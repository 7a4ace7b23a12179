"""The verification of the log entry by entry: each hash, and the sums of the queries."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, TextClause, text

from teacher_service.database.query_facts import VERSIONS
from teacher_service.database.schema import queries
from teacher_service.ledger.hash_chain import ADMITTED, GENESIS, link
from teacher_service.query_log.verify_report import Head, Report

STRANGE_VALUE: Final = "it has a value of the wrong type for its column"
"""Possible because a column of SQLite accepts values of every type."""

_SECONDS_A_DAY: Final = 86_400


def entries_with(facts: Iterable[str]) -> TextClause:
    """The SQL of every entry with these columns of its query, in order."""
    return text(
        f"SELECT e.sequence, e.query_id, e.event, e.at, e.sha256, {', '.join(f'q.{fact}' for fact in facts)} "  # noqa: S608 - names of columns
        "FROM query_events e LEFT JOIN queries q ON q.id = e.query_id ORDER BY e.sequence"
    )


ENTRIES: Final = entries_with(queries.c.keys())


@dataclass
class Totals:
    """The numbers that a key must have according to the log."""

    used: int = 0
    reserved: int = 0
    in_flight: int = 0


class Log:
    """The log, checked entry by entry, and its sums so far."""

    def __init__(self, report: Report, expect: Head | None, versions: Mapping[int, Sequence[str]] = VERSIONS) -> None:
        self._report = report
        self._expect = expect
        self._versions = versions
        self._version = min(versions)
        self._last_admitted = 0
        self.totals: dict[str, Totals] = {}
        self.usage: dict[tuple[str, int], list[int]] = {}

    def check(self, row: Row[Any]) -> None:
        """Check the next entry, with its query."""
        report = self._report
        report.entries += 1
        if row.sequence != report.head.sequence + 1:
            report.add(f"entries {report.head.sequence + 1} to {row.sequence - 1} are missing")
        elif not self._has_its_hash(row):
            report.add(
                f"entry {row.sequence}: its hash is wrong; the entry, or a fact of query {row.query_id} that it "
                "covers, was altered"
            )
        elif row.event == ADMITTED and row.id is not None:
            for fact in self._uncovered(row):
                report.add(
                    f"entry {row.sequence}: query {row.query_id} has a value of {fact}, which its entry does not cover"
                )
        report.head = Head(row.sequence, row.sha256 if isinstance(row.sha256, bytes) else GENESIS)
        for problem in self._problems_of(row):
            report.add(f"entry {row.sequence}: {problem}")
        if self._expect is not None and row.sequence == self._expect.sequence and report.head != self._expect:
            report.add(f"entry {row.sequence}: expected the noted head {self._expect}, got {report.head}")

    def end(self) -> None:
        """Check the end of the log, after its last entry."""
        if self._expect is not None and self._expect.sequence > self._report.head.sequence:
            self._report.add(f"the log ends at {self._report.head}; expected it to go through {self._expect}")
        if self._expect is not None and self._expect.sequence == 0 and self._expect != Head():
            self._report.add(f"expected {self._expect} before the first entry, got nothing")

    def _has_its_hash(self, row: Row[Any]) -> bool:
        """Whether the hash is right in any version; the version of the entry before is the likeliest."""
        for version in sorted(self._versions, key=lambda version: version != self._version):
            if row.sha256 == _hash(self._report.head.sha256, row, version, self._versions):
                self._version = version
                return True
        return False

    def _uncovered(self, row: Row[Any]) -> list[str]:
        """The facts of an admission that came with a later version than the entry's, and are not empty all the same."""
        later = set(self._versions[max(self._versions)]) - set(self._versions[self._version])
        return [fact for fact in sorted(later) if getattr(row, fact) is not None]

    def _problems_of(self, row: Row[Any]) -> Iterator[str]:
        if row.id is None:
            yield f"its query {row.query_id} is missing"
            return
        if row.event == ADMITTED:
            if row.query_id <= self._last_admitted:
                yield f"query {row.query_id} was admitted out of order"
            self._last_admitted = max(self._last_admitted, row.query_id)
            if row.created_at != row.at:
                yield f"query {row.query_id} has created_at = {row.created_at}, but the log has {row.at}"
            if row.status == "held" and (row.finished_at, row.answer_sha256) != (None, None):
                yield f"query {row.query_id} is held, but has finished_at or answer_sha256"
        else:
            if row.query_id > self._last_admitted:
                yield f"query {row.query_id} ended before it was admitted"
            if (row.status, row.finished_at) != (row.event, row.at):
                yield (
                    f"query {row.query_id} is {row.status} at {row.finished_at}, but in the log {row.event} at {row.at}"
                )
        try:
            self._add_up(row)
        except (TypeError, ValueError, OverflowError):
            yield f"query {row.query_id}: {STRANGE_VALUE}"

    def _add_up(self, row: Row[Any]) -> None:
        totals = self.totals.setdefault(row.key_id, Totals())
        if row.event == ADMITTED and row.status == "held":
            totals.reserved += row.samples
            totals.in_flight += 1
        elif row.event == "settled":
            totals.used += row.samples
            day = self.usage.setdefault((row.key_id, int(row.at // _SECONDS_A_DAY)), [0, 0])
            day[0] += 1
            day[1] += row.samples


def _hash(previous: bytes, row: Row[Any], version: int, versions: Mapping[int, Sequence[str]]) -> bytes | None:
    try:
        return link(
            previous,
            row.sequence,
            row.event,
            row.at,
            row.query_id,
            row._asdict(),
            version=version,
            versions=versions,
        )
    except (TypeError, ValueError):
        return None
