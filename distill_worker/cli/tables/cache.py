"""What a cache holds, and its damages, as tables on standard output."""

from distill_worker.cache.summary import CacheSummary
from distill_worker.cache.verify import Verification
from distill_worker.cli.console import answers
from distill_worker.cli.tables.rows import ROWS_SHOWN, print_rest, print_rows
from distill_worker.errors import counted
from shared.times import to_minute


def show_summary(summary: CacheSummary) -> None:
    """Print what a cache holds."""
    print_rows(
        ("teacher", "samples", "kind", "MB"),
        [(row.teacher_id, str(row.samples), row.kind, f"{row.bytes / 1e6:.2f}") for row in summary.streams],
    )
    states = ", ".join(f"{count} {status}" for status, count in sorted(summary.purchases.items())) or "none"
    since = "" if summary.first_at is None else f", from {_utc(summary.first_at)} to {_utc(summary.last_at)}"
    paid = counted(summary.samples_paid, "sample")
    answers.print(f"{summary.place}: {paid} paid for; purchases: {states}{since}", markup=False)
    if summary.samples_open:
        answers.print(f"in open purchases: {counted(summary.samples_open, 'sample')}; run fetch", markup=False)
    if summary.samples_unread:
        unread = counted(summary.samples_unread, "sample")
        answers.print(f"paid, with kept answers that cannot be read: {unread}; run plan", markup=False)
    if summary.set_aside:
        answers.print(f"set aside as damaged: {counted(summary.set_aside, 'block')}", markup=False)


def show_damages(result: Verification) -> None:
    """Print what is damaged, if anything is."""
    if result.damages:
        print_rows(
            ("where", "outputs", "teacher", "kind", "what"),
            [(row.place, str(row.rows), row.teacher_id, row.kind, row.reason) for row in result.damages[:ROWS_SHOWN]],
        )
    print_rest(len(result.damages))


def _utc(seconds: float | None) -> str:
    return "" if seconds is None else to_minute(seconds)
