"""Every hash, every sum and every stored answer of a ledger, looked at again.

Reads one snapshot while the service runs, and holds nobody up. Memory grows with the days on which each key was used,
not with the log. Not covered are a key's name, secret, terms and burst limits, for how long an answer is promised, and
the bytes of answers from before the chain. Whoever rewrites the whole ledger and every hash is found out by a head that
was noted elsewhere: `Head`.
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
    """Look at the whole ledger as it stands.

    Args:
        engine: of the ledger.
        now: seconds since the epoch.
        expect: a head that was noted earlier, which the log must still go through.
        progress: told the number of entries looked at, and of all, now and then.

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
            log.look_at(row)
        log.end()
        for problems in (
            problems_of_head(connection, report.head),
            problems_of_counts(connection),
            problems_of_answers(connection, now),
            problems_of_keys(connection, log),
            problems_of_usage(connection, log),
        ):
            for problem in problems:
                report.tell(problem)
    return report
