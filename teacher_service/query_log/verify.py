"""The verification of a ledger: every hash, every sum and every stored answer is computed again.

It reads one snapshot while the service runs, and blocks no writer. Memory use grows with the days on which each key was
used, not with the log. It does not cover a key's name, secret, terms and rate limits, the retention time of an answer,
and the bytes of answers from before the chain. If the whole ledger is rewritten with all its hashes, only a `Head` that
was noted elsewhere shows it.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Engine, text

from teacher_service.database.engine import snapshot
from teacher_service.query_log.verify_chain import ENTRIES, Log
from teacher_service.query_log.verify_report import Head, Report
from teacher_service.query_log.verify_tables import (
    problems_of_answers,
    problems_of_counts,
    problems_of_head,
    problems_of_keys,
    problems_of_usage,
)

_REPORT_EVERY: Final = 100_000
_ROWS: Final = 2000


def verify(
    engine: Engine,
    *,
    now: float,
    expect: Head | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """Verify the whole ledger in its present state.

    Args:
        engine: of the ledger.
        now: seconds since the epoch.
        expect: a head that was noted earlier, and must still be in the log.
        progress: called from time to time with the number of verified entries and the number of all entries.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be read.
    """
    report = Report()
    with snapshot(engine) as connection:
        total = connection.scalar(text("SELECT COUNT(*) FROM query_events")) or 0
        log = Log(report, expect)
        for row in connection.execute(ENTRIES, execution_options={"yield_per": _ROWS}):
            if report.entries % _REPORT_EVERY == 0:
                progress(report.entries, total)
            log.check(row)
        log.end()
        for problems in (
            problems_of_head(connection, report.head),
            problems_of_counts(connection),
            problems_of_answers(connection, now),
            problems_of_keys(connection, log),
            problems_of_usage(connection, log),
        ):
            for problem in problems:
                report.add(problem)
    return report
