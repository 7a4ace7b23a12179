"""Buying what a plan lacks: purchase, keep, and stop when told to.

Purchases that somebody left open come first, then what nobody began, several requests in flight; what another worker is
buying into the same cache is waited for. `Claims` sees to it that no sample is paid for twice.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Literal

import numpy as np

from distill_worker.buying.deferred_interrupts import interrupts_held_back
from distill_worker.buying.plan import Images, Plan, claims_on
from distill_worker.cache import Cache, Claims, Purchase
from distill_worker.errors import (
    AnswerExpired,
    PlanRefused,
    QuotaExhausted,
    TeacherChanged,
    TeacherError,
    TeacherRefused,
    TeacherUnavailable,
    WorkerError,
)
from distill_worker.teachers.base import Answer, Description, Teacher
from shared.durable.process_lock import ProcessLock

Abandoned = Literal["other-keys", "all"]
"""Whose open purchases to give up: those that another API key began, or this one's too, which would replay free."""

Progress = Callable[[int, Plan], None]
"""Told how many samples of the plan have been bought and kept so far."""

_LOOK_AGAIN_SECONDS = 0.5
"""How often another worker's purchases are looked at, when there is nothing else to do."""
_NOTICED_SECONDS = 0.2
"""How soon an interrupt is noticed while answers are waited for."""


def fetch(
    teacher: Teacher,
    description: Description,
    cache: Cache,
    plan: Plan,
    images: Mapping[bytes, Images],
    *,
    buyer: ProcessLock,
    concurrency: int,
    bound: bool = False,
    progress: Progress = lambda _done, _plan: None,
    on_wait: Callable[[int], None] = lambda _samples: None,
    on_end: Callable[[int], None] = lambda _requests: None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Carry out a plan; the number of samples bought.

    Whatever ends it, nothing more is sent from then on, and the answers of what is in flight are waited for and kept.
    An interrupt ends it between two steps; one that comes while it ends changes nothing any more.

    Args:
        teacher: it is not used again after a failure.
        description: what it says of itself.
        cache: where the outputs go.
        plan: what to buy.
        images: the whole data set's, by sample key.
        buyer: this process, among those that buy into the cache.
        concurrency: the most requests in flight.
        bound: whether the plan's `most_calls` was agreed to, so that no more is asked for whatever other workers leave.
        progress: told after each answer.
        on_wait: told how many samples another worker is buying, once, when there is nothing to do but to wait for it.
        on_end: told how many answers are waited for when it ends before its time.
        sleep: between two looks at what another worker does.

    Raises:
        PlanRefused: the quota cannot pay, or more would be needed than was agreed to.
        QuotaExhausted: the quota ran out on the way.
        TeacherChanged: another teacher answered; its answer is kept as its own.
        TeacherError, CacheError: see there.
    """
    plan.check()
    asked = set(plan.to_buy).union(*(purchase.sample_keys for purchase in plan.reopened))
    claims = claims_on(
        cache,
        description,
        plan.kinds,
        [key for key in plan.samples if key in asked] if plan.left_out else plan.samples,
        payer=teacher.payer,
        request_size=plan.request_size,
        most_calls=plan.most_calls if bound else None,
    )
    with interrupts_held_back() as raise_interrupt, ThreadPoolExecutor(concurrency, "purchase") as pool:
        purchases = _Purchases(teacher, description, cache, plan, claims, images, progress, raise_interrupt)
        try:
            purchases.carry_out(pool, buyer, concurrency, on_wait, sleep)
        except BaseException:
            purchases.end(on_end)
            raise
    return purchases.bought


class _Purchases:
    """The requests in flight, and what came of those that landed."""

    def __init__(
        self,
        teacher: Teacher,
        description: Description,
        cache: Cache,
        plan: Plan,
        claims: Claims,
        images: Mapping[bytes, Images],
        progress: Progress,
        raise_interrupt: Callable[[], None],
    ) -> None:
        self.bought = 0
        self._teacher = teacher
        self._description = description
        self._cache = cache
        self._plan = plan
        self._claims = claims
        self._images = images
        self._progress = progress
        self._raise_interrupt = raise_interrupt
        self._flying: dict[Future[Answer], Purchase] = {}
        self._failure: Exception | None = None

    def carry_out(
        self,
        pool: ThreadPoolExecutor,
        buyer: ProcessLock,
        concurrency: int,
        on_wait: Callable[[int], None],
        sleep: Callable[[float], None],
    ) -> None:
        """Send and land until nothing is left, or something failed and all that was in flight has landed."""
        claims, waiting = self._claims, False
        while True:
            self._raise_interrupt()
            # Where each mistake costs, the first answer shows whether the teacher is the one that was described.
            most = concurrency if self._description.repeats_are_free or self.bought else 1
            if self._failure is None and (free := most - len(self._flying)) > 0:
                for purchase in self._cache.claim(claims, buyer, free):
                    self._send(pool, purchase)
            if self._flying:
                self._land_some()
            elif self._failure is not None or claims.left == claims.over_limit:
                break
            else:
                if not waiting:
                    on_wait(claims.left)
                waiting = True
                sleep(_LOOK_AGAIN_SECONDS)
        if self._failure is not None:
            raise _told(self._failure, self.bought, self._plan)
        if claims.over_limit:
            raise PlanRefused(_beyond(claims.over_limit, self.bought))
        if claims.uncertain:
            raise TeacherError(_uncertain(len(claims.uncertain), self.bought))

    def end(self, on_end: Callable[[int], None]) -> None:
        """Send nothing more, and keep the answers of what is in flight: they are paid for."""
        self._teacher.stop()
        self._progress = lambda _done, _plan: None  # it may be what failed
        self._raise_interrupt = lambda: None
        if self._flying:
            on_end(len(self._flying))
        while self._flying:
            self._land_some()

    def _send(self, pool: ThreadPoolExecutor, purchase: Purchase) -> None:
        try:
            batch = np.stack([_image(self._images, key) for key in purchase.sample_keys])
        except WorkerError as error:
            self._fail(error)
            return
        future = pool.submit(
            self._teacher.buy,
            batch,
            description=self._description,
            idempotency_key=purchase.idempotency_key,
            outputs=purchase.kinds,
        )
        self._flying[future] = purchase

    def _land_some(self) -> None:
        landed, _ = wait(self._flying, timeout=_NOTICED_SECONDS, return_when=FIRST_COMPLETED)
        while not landed:
            self._raise_interrupt()
            landed, _ = wait(self._flying, timeout=_NOTICED_SECONDS, return_when=FIRST_COMPLETED)
        for future in landed:
            purchase = self._flying.pop(future)
            try:
                self._land(future, purchase)
            except Exception as error:  # the other answers have to land all the same
                self._fail(error)

    def _land(self, future: Future[Answer], purchase: Purchase) -> None:
        try:
            answer = future.result()
        except TeacherRefused as error:
            # A purchase begun earlier may have been charged then; only the quota's refusal disproves it.
            if not purchase.begun_earlier or isinstance(error, QuotaExhausted):
                self._cache.void(purchase)
                raise
            raise _refused_again(error) from error
        except AnswerExpired:
            self._claims.mark_uncertain(purchase)
            return
        except TeacherUnavailable as error:
            # Where a repetition is free it may as well stay open; else it would count as one that may have been paid.
            if error.unpaid and not purchase.begun_earlier and not self._description.repeats_are_free:
                self._cache.void(purchase)
            raise
        self._cache.complete(purchase, answer.outputs, teacher_id=answer.teacher_id, query_id=answer.query_id)
        self.bought += len(purchase.sample_keys)
        self._progress(self.bought, self._plan)
        if answer.teacher_id != self._description.id:
            raise _changed(self._description.id, answer.teacher_id)

    def _fail(self, error: Exception) -> None:
        """The first failure is told; from then on nothing more is sent."""
        if self._failure is None:
            self._failure = error
            self._teacher.stop()


def abandon(
    whose: Abandoned,
    teacher: Teacher,
    description: Description,
    cache: Cache,
    samples: Mapping[bytes, Images],
    *,
    kinds: tuple[str, ...] = ("logits",),
) -> None:
    """Give up purchases of these samples whose end is not known: what they may have paid for is bought again.

    Those that a living worker sees to are left alone.

    Raises:
        TeacherError: the present key is not accepted; nothing was given up.
    """
    teacher.quota()
    claims = claims_on(
        cache, description, tuple(sorted(set(kinds))), tuple(samples), payer=teacher.payer, request_size=1
    )
    held = [cache.holdings(stream_id) for stream_id in claims.stream_ids]

    def gives_up(opened: Purchase) -> bool:
        return (whose == "all" or opened.payer != teacher.payer) and bool(claims.satisfied_by(opened, held))

    cache.abandon(description.id, gives_up)


def _changed(expected: str, found: str) -> TeacherChanged:
    return TeacherChanged(
        f"the teacher was replaced in the middle of the purchase: {expected} was asked, and {found} answered. Its "
        "answer is kept as its own, and nothing more was asked. If it always answers so, say teacher.model_version"
    )


def _uncertain(samples: int, bought: int) -> str:
    return (
        f"{bought} samples were bought and are kept; {samples} are left alone, for the requests that asked for them "
        "may have been charged, and would be charged again. See the bill (`distill-worker reconcile`), and buy them "
        "again with `distill-worker fetch --abandon all`"
    )


def _refused_again(error: TeacherRefused) -> TeacherRefused:
    return TeacherRefused(
        f"{error}. This request was sent before, and may have been paid for then, so it is kept as it is: undo what "
        "changed at the teacher since; or give it up with `distill-worker fetch --abandon all`"
    )


def _told(failure: Exception, bought: int, plan: Plan) -> Exception:
    """The failure, how far it got, and how to go on."""
    if not isinstance(failure, WorkerError):
        return failure
    advice = "ask for a larger quota and " if isinstance(failure, QuotaExhausted) else ""
    then = f"{advice}run the same command again to buy the rest"
    if isinstance(failure, TeacherChanged):
        then = "see what it would cost now with `distill-worker plan`"
    told = type(failure)(f"{failure}. {bought} of {plan.outstanding} samples were bought and are kept; {then}")
    told.__cause__ = failure
    return told


def _beyond(samples: int, bought: int) -> str:
    return (
        f"{bought} samples were bought and are kept; {samples} more, which others had begun to buy and left, would go "
        "beyond what was agreed to: run the same command again to buy them"
    )


def _image(images: Mapping[bytes, Images], key: bytes) -> Images:
    try:
        return images[key]
    except KeyError:
        raise WorkerError(
            "a purchase begun earlier holds samples of another data set; fetch with that data set first, so that what "
            "may have been paid for is not lost"
        ) from None
