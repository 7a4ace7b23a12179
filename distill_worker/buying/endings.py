"""How a purchase ends early: its error, with what was bought before and how to go on."""

from distill_worker.buying.plan import Plan
from distill_worker.errors import (
    AnswerUnread,
    CacheError,
    PlanRefused,
    QuotaExhausted,
    TeacherChanged,
    TeacherError,
    TeacherRefused,
    TeacherUnavailable,
    WorkerError,
    counted,
)


def changed(expected: str, got: str) -> TeacherChanged:
    """The error if another teacher than the expected one answered."""
    return TeacherChanged(
        f"expected an answer of teacher {expected}, got one of {got}: the teacher was replaced during the purchase. "
        f"The answer is stored under the name of {got}, and nothing more was sent. If the teacher always answers so, "
        "set teacher.model_version to the version in that name"
    )


def uncertain(samples: int, bought: int) -> str:
    """The message about samples that may have been charged and are left alone."""
    return (
        f"{_bought(bought)}; not sent again: {counted(samples, 'sample')}, which may have been charged and would be "
        "charged again. Compare with the bill (`distill-worker reconcile`), then buy them again "
        "with `distill-worker fetch --abandon all`"
    )


def unread(samples: int, bought: int) -> str:
    """The message about samples with kept answers that cannot be read."""
    return (
        f"{_bought(bought)}; not bought: {counted(samples, 'sample')}, whose answers were paid and cannot be read. "
        "See the reasons with `distill-worker plan`, or train without them: distill-worker train --held"
    )


def rejected_again(error: TeacherRefused) -> TeacherRefused:
    """The error if an open purchase is rejected when it is repeated."""
    return TeacherRefused(
        f"{error}. This request was sent before and may have been charged then, so its purchase stays open: undo the "
        "change at the teacher, or give the purchase up with `distill-worker fetch --abandon all`"
    )


def with_advice(failure: Exception, bought: int, plan: Plan, *, repeats_are_free: bool) -> Exception:
    """The failure with what was bought before it and how to go on."""
    if not isinstance(failure, WorkerError):
        return failure
    if isinstance(failure, PlanRefused):  # an answer was rejected: to go on would buy more of the same
        stopped = PlanRefused(f"{failure}. {_bought(bought, plan.outstanding)}; nothing more was sent")
        stopped.__cause__ = failure
        return stopped
    if isinstance(failure, AnswerUnread):
        kept = AnswerUnread(
            f"{failure}. It was paid, so it is kept and not bought again. {_bought(bought, plan.outstanding)}; nothing "
            "more was sent. Correct [teacher] and run the same command again: it reads the kept answer, without a "
            "request"
        )
        kept.__cause__ = failure
        return kept
    if not repeats_are_free and _may_be_charged(failure):
        lost = TeacherError(
            f"{failure}. {_bought(bought, plan.outstanding)}. The samples of this request may have been charged, so "
            "they are not sent again: compare with the bill, then buy them again with `distill-worker fetch --abandon "
            "all`"
        )
        lost.__cause__ = failure
        return lost
    if isinstance(failure, CacheError):
        then = (
            "; run the same command again to buy the rest: an answer that could not be stored is repeated under its "
            "Idempotency-Key, which costs nothing"
            if repeats_are_free
            else ". A sample whose answer could not be stored may have been charged, so it is not sent again: run the "
            "same command again to buy the others, compare with the bill, then buy it again with `distill-worker fetch "
            "--abandon all`"
        )
        advised: WorkerError = type(failure)(f"{failure}. {_bought(bought, plan.outstanding)}{then}")
        advised.__cause__ = failure
        return advised
    advice = "get a larger quota and " if isinstance(failure, QuotaExhausted) else ""
    then = f"{advice}run the same command again to buy the rest"
    if isinstance(failure, TeacherChanged):
        then = "see the cost now with `distill-worker plan`"
    advised = type(failure)(f"{failure}. {_bought(bought, plan.outstanding)}; {then}")
    advised.__cause__ = failure
    return advised


def _may_be_charged(failure: WorkerError) -> bool:
    """Whether a request was sent, and it is open whether it was charged."""
    if isinstance(failure, TeacherUnavailable):
        return not failure.unpaid
    return isinstance(failure, TeacherError) and not isinstance(failure, TeacherRefused | TeacherChanged)


def beyond_consent(samples: int, bought: int) -> str:
    """The message about samples that would exceed the agreed number of calls."""
    return (
        f"{_bought(bought)}; not sent: {counted(samples, 'sample')}, which other workers left unbought and which would "
        "exceed the agreed number of calls: run the same command again to buy them"
    )


def _bought(samples: int, of: int | None = None) -> str:
    number = counted(samples, "sample") if of is None else f"{samples} of {counted(of, 'sample')}"
    return f"Bought and cached: {number}"
