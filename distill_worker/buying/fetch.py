"""Buy what a plan lacks, and store it.

It first repeats the purchases that earlier runs left open, then sends the other samples. The first request goes alone
until its answer is stored and judged; from then on, several are in flight at once. It waits for samples that another
worker is buying into the same cache, and reads that worker's answers under its own settings. `Claims` ensures that no
sample is paid for twice.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from distill_worker.buying import endings
from distill_worker.buying.deferred_interrupts import deferred_interrupts
from distill_worker.buying.kept_answers import reread
from distill_worker.buying.order import Images, PurchaseOrder
from distill_worker.buying.plan import Plan
from distill_worker.cache import Claims, Purchase
from distill_worker.errors import (
    AnswerExpired,
    AnswerUnread,
    CacheError,
    PlanRefused,
    QuotaExhausted,
    TeacherError,
    TeacherRefused,
    TeacherUnavailable,
    WorkerError,
)
from distill_worker.teachers.base import Answer
from shared.durable.process_lock import ProcessLock

Progress = Callable[[int, Plan], None]
"""Called with the number of samples of the plan that are bought and stored so far."""
OnAnswer = Callable[[Sequence[bytes], Mapping[str, NDArray[np.float32]]], None]
"""Called with sample keys and their outputs, float32 `[samples, ...]` by kind."""

_POLL_SECONDS: Final = 0.5
"""Between two looks at another worker's purchases, when nothing else is left to do."""
_INTERRUPT_SECONDS: Final = 0.2
"""The longest time until an interrupt is noticed while requests are in flight."""


@dataclass(frozen=True)
class Callbacks:
    """Functions that are called while a purchase goes on."""

    progress: Progress = lambda _done, _plan: None
    """Called after each answer."""
    on_answer: OnAnswer = lambda _sample_keys, _outputs: None
    """Called after each answer is stored. It judges the answer: a WorkerError that it raises ends the purchase."""
    on_wait: Callable[[int], None] = lambda _samples: None
    """Called once, with the number of samples that another worker is buying, when only they are left."""
    on_end: Callable[[int], None] = lambda _requests: None
    """Called with the number of requests in flight when a purchase ends early."""


NO_CALLBACKS: Final = Callbacks()


def fetch(
    order: PurchaseOrder,
    plan: Plan,
    images: Mapping[bytes, Images],
    *,
    buyer: ProcessLock,
    bound: bool = False,
    callbacks: Callbacks = NO_CALLBACKS,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Carry out a plan; the number of samples bought.

    However it ends, from then on nothing more is sent, and the answers of all requests in flight are awaited and
    stored. An interrupt ends it between two steps; another interrupt during that end has no effect.

    Args:
        order: what the plan was made of. Its teacher is not used again after a failure.
        plan: what to buy.
        images: of the whole data set, by sample key; open purchases may hold any of them.
        buyer: this process's lock among those that buy into the cache.
        bound: whether the plan's `most_calls` was agreed to, so that no more is sent, whatever other workers leave.
        callbacks: functions that are called meanwhile.
        sleep: waits between two looks at another worker's purchases.

    Raises:
        PlanRefused: the quota is too small, or more would be sent than was agreed to.
        QuotaExhausted: the quota ran out on the way.
        WorkerError: `callbacks.on_answer` raised it.
        TeacherChanged: another teacher answered; its answer is stored under its own name.
        AnswerUnread: an answer cannot be read; it is kept.
        TeacherError, CacheError: see `distill_worker.errors`.
    """
    plan.check()
    to_send = set(plan.to_buy).union(*(purchase.sample_keys for purchase in plan.reopened))
    wanted = [key for key in plan.samples if key in to_send] if plan.left_out else plan.samples
    blocked, answers_read = plan.blocked, plan.answers_read
    if order.description.source is not None:  # other workers may have kept answers since the plan
        kept = reread(order, after=answers_read)
        blocked, answers_read = blocked | kept.unread.keys() | kept.of_others.keys(), kept.last_id
    claims = order.claims(
        wanted,
        most_calls=plan.most_calls if bound else None,
        given_up=plan.given_up,
        answers_read=answers_read,
    )
    claims.mark_unread(blocked.intersection(wanted))
    with deferred_interrupts() as raise_interrupt, ThreadPoolExecutor(order.concurrency, "purchase") as pool:
        purchases = _Purchases(order, plan, claims, images, callbacks, raise_interrupt)
        try:
            purchases.carry_out(pool, buyer, sleep)
        except BaseException:
            purchases.end()
            raise
    return purchases.bought


class _Purchases:
    """The requests in flight, and the results of those that were answered."""

    def __init__(
        self,
        order: PurchaseOrder,
        plan: Plan,
        claims: Claims,
        images: Mapping[bytes, Images],
        callbacks: Callbacks,
        raise_interrupt: Callable[[], None],
    ) -> None:
        self.bought = 0
        self._order = order
        self._plan = plan
        self._claims = claims
        self._images = images
        self._callbacks = callbacks
        self._progress = callbacks.progress
        self._judge = callbacks.on_answer
        self._raise_interrupt = raise_interrupt
        self._flying: dict[Future[Answer], Purchase] = {}
        self._failure: Exception | None = None

    def carry_out(self, pool: ThreadPoolExecutor, buyer: ProcessLock, sleep: Callable[[float], None]) -> None:
        """Send requests and store answers until nothing is left, or until one failed and none is in flight."""
        claims, waiting = self._claims, False
        while True:
            self._raise_interrupt()
            # The first answer must show that the teacher is the described one, and that its answers can be used.
            most = self._order.concurrency if self.bought else 1
            if self._failure is None and (free := most - len(self._flying)) > 0:
                for purchase in self._order.cache.claim(claims, buyer, free):
                    self._send(pool, purchase)
                if claims.to_read:
                    self._read_kept()
            if self._flying:
                self._land_some()
            elif self._failure is not None or claims.left == claims.over_limit:
                break
            elif not claims.to_read:
                if not waiting:
                    self._callbacks.on_wait(claims.left)
                waiting = True
                sleep(_POLL_SECONDS)
        if self._failure is not None:
            repeats_are_free = self._order.description.repeats_are_free
            raise endings.with_advice(self._failure, self.bought, self._plan, repeats_are_free=repeats_are_free)
        if claims.over_limit:
            raise PlanRefused(endings.beyond_consent(claims.over_limit, self.bought))
        if claims.unread:
            raise PlanRefused(endings.unread(len(claims.unread), self.bought))
        if claims.uncertain:
            raise TeacherError(endings.uncertain(len(claims.uncertain), self.bought))

    def end(self) -> None:
        """Send nothing more, and store the answers of all requests in flight: they are paid for."""
        self._order.teacher.stop()
        self._progress = lambda _done, _plan: None  # it may be what failed
        self._judge = lambda _sample_keys, _outputs: None
        self._raise_interrupt = lambda: None
        if self._flying:
            self._callbacks.on_end(len(self._flying))
        while self._flying:
            self._land_some()

    def _read_kept(self) -> None:
        """Read the answers that other workers kept since the last look."""
        kept = reread(self._order, after=self._claims.answers_read, by_content=False)
        self._claims.mark_unread(kept.unread.keys() | kept.of_others.keys())
        self._claims.mark_read()

    def _send(self, pool: ThreadPoolExecutor, purchase: Purchase) -> None:
        try:
            batch = np.stack([_image(self._images, key) for key in purchase.sample_keys])
        except WorkerError as error:
            self._fail(error)
            return
        future = pool.submit(
            self._order.teacher.buy,
            batch,
            description=self._order.description,
            idempotency_key=purchase.idempotency_key,
            outputs=purchase.kinds,
        )
        self._flying[future] = purchase

    def _land_some(self) -> None:
        landed, _ = wait(self._flying, timeout=_INTERRUPT_SECONDS, return_when=FIRST_COMPLETED)
        while not landed:
            self._raise_interrupt()
            landed, _ = wait(self._flying, timeout=_INTERRUPT_SECONDS, return_when=FIRST_COMPLETED)
        for future in landed:
            purchase = self._flying.pop(future)
            try:
                self._land(future, purchase)
            except Exception as error:  # the other answers must be stored all the same
                self._fail(error)

    def _land(self, future: Future[Answer], purchase: Purchase) -> None:
        try:
            answer = future.result()
        except TeacherRefused as error:
            # An open purchase may have been charged when it was begun; only an exhausted quota disproves it.
            is_unpaid = isinstance(error, QuotaExhausted) and not purchase.is_unread
            if not purchase.begun_earlier or is_unpaid:
                self._void(purchase)
                raise
            raise endings.rejected_again(error) from error
        except AnswerExpired:
            self._claims.mark_uncertain(purchase)
            return
        except AnswerUnread as error:
            query_id = error.raw.headers.get("x-request-id")
            self._order.cache.keep(purchase, error.raw, reason=str(error), query_id=query_id)
            raise
        except TeacherUnavailable as error:
            # If repeats are free it may stay open; otherwise it would count as possibly charged.
            if error.unpaid and not purchase.begun_earlier and not self._order.description.repeats_are_free:
                self._void(purchase)
            raise
        self._order.cache.complete(
            purchase, answer.outputs, teacher_id=answer.teacher_id, query_id=answer.query_id, raw=answer.raw
        )
        self.bought += len(purchase.sample_keys)
        self._progress(self.bought, self._plan)
        if answer.teacher_id != self._order.description.id:
            raise endings.changed(self._order.description.id, answer.teacher_id)
        self._judge(purchase.sample_keys, answer.outputs)

    def _void(self, purchase: Purchase) -> None:
        """Make a purchase void that was not charged, unless it replaces one that may have been and is void already.

        Then its samples stay uncertain: only giving them up again buys them.
        """
        if self._order.description.repeats_are_free or not self._claims.replaces(purchase):
            self._order.cache.void(purchase)

    def _fail(self, error: Exception) -> None:
        """Keep the first failure; from then on nothing more is sent."""
        if self._failure is None:
            self._failure = error
            self._order.teacher.stop()


def _image(images: Mapping[bytes, Images], key: bytes) -> Images:
    try:
        return images[key]
    except KeyError:
        raise CacheError(
            "data: an open purchase holds samples of another data set and may have been charged. Run "
            "`distill-worker fetch` with that data set first, so that its answer is not lost"
        ) from None
