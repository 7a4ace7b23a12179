"""Buying what a plan lacks: purchase, keep, and stop when told to.

Purchases that somebody left open come first, then what nobody began, several requests in flight; what another worker is
buying into the same cache is waited for. `Claims` sees to it that no sample is paid for twice.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Literal

import numpy as np

from distill_worker.cache import Buyer, Cache, Purchase
from distill_worker.errors import QuotaExhausted, TeacherChanged, TeacherError, TeacherRefused, WorkerError
from distill_worker.plan import Images, Plan, claims_on
from distill_worker.teachers.base import Answer, Description, Teacher

Abandoned = Literal["other-keys", "all"]
"""Whose open purchases to give up: those that another API key began, or this one's too, which would replay free."""

Progress = Callable[[int, Plan], None]
"""Told how many samples of the plan have been bought and kept so far."""

_LOOK_AGAIN_SECONDS = 0.5
"""How often another worker's purchases are looked at, when there is nothing else to do."""


def fetch(
    teacher: Teacher,
    description: Description,
    cache: Cache,
    plan: Plan,
    images: Mapping[bytes, Images],
    *,
    buyer: Buyer,
    concurrency: int,
    progress: Progress = lambda _done, _plan: None,
    on_wait: Callable[[int], None] = lambda _samples: None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Carry out a plan; the number of samples bought. `images` holds the whole data set's images by sample key.

    Whatever is bought before a failure is kept, and the next call goes on from there. `on_wait` is told how many
    samples another worker is buying, once, when there is nothing to do but to wait for it.

    Raises:
        PlanRefused: the quota cannot pay; nothing was spent.
        QuotaExhausted: the quota ran out on the way; what was bought is kept.
        TeacherChanged: another teacher answered; its answer is kept as its own, and nothing more was asked.
        TeacherError, CacheError: see there; what was bought is kept.
    """
    plan.check()
    return _Purchases(teacher, description, cache, plan, images, progress).carry_out(buyer, concurrency, on_wait, sleep)


class _Purchases:
    """The requests in flight, and what came of those that landed."""

    def __init__(
        self,
        teacher: Teacher,
        description: Description,
        cache: Cache,
        plan: Plan,
        images: Mapping[bytes, Images],
        progress: Progress,
    ) -> None:
        self._teacher = teacher
        self._description = description
        self._cache = cache
        self._plan = plan
        self._images = images
        self._progress = progress
        self._flying: dict[Future[Answer], Purchase] = {}
        self._failure: WorkerError | None = None
        self._bought = 0

    def carry_out(
        self,
        buyer: Buyer,
        concurrency: int,
        on_wait: Callable[[int], None],
        sleep: Callable[[float], None],
    ) -> int:
        plan = self._plan
        asked = set(plan.to_buy).union(*(purchase.sample_keys for purchase in plan.reopened))
        wanted = plan.samples if plan.left_out == 0 else [key for key in plan.samples if key in asked]
        claims = claims_on(
            self._cache,
            self._description,
            plan.kinds,
            wanted,
            payer=self._teacher.payer,
            request_size=plan.request_size,
        )
        waiting = False
        with ThreadPoolExecutor(concurrency, thread_name_prefix="purchase") as pool:
            while True:
                if self._failure is None and (free := concurrency - len(self._flying)):
                    for purchase in self._cache.claim(claims, buyer, free):
                        self._send(pool, purchase)
                if self._flying:
                    landed, _ = wait(self._flying, return_when=FIRST_COMPLETED)
                    for future in landed:
                        self._land(future)
                elif self._failure is not None or not claims.left:
                    break
                else:
                    if not waiting:
                        on_wait(claims.left)
                    waiting = True
                    sleep(_LOOK_AGAIN_SECONDS)
        if self._failure is not None:
            raise _told(self._failure, self._bought, plan)
        if claims.uncertain:
            raise TeacherError(_uncertain(len(claims.uncertain), self._bought))
        return self._bought

    def _send(self, pool: ThreadPoolExecutor, purchase: Purchase) -> None:
        try:
            batch = np.stack([_image(self._images, key) for key in purchase.sample_keys])
        except WorkerError as error:
            self._failure = self._failure or error
            return
        future = pool.submit(
            self._teacher.buy,
            batch,
            description=self._description,
            idempotency_key=purchase.idempotency_key,
            outputs=purchase.kinds,
        )
        self._flying[future] = purchase

    def _land(self, future: Future[Answer]) -> None:
        purchase = self._flying.pop(future)
        try:
            answer = future.result()
        except TeacherRefused as error:
            # A purchase begun earlier may have been charged then; only the quota's refusal disproves it.
            if not purchase.begun_earlier or isinstance(error, QuotaExhausted):
                self._cache.void(purchase)
                self._failure = self._failure or error
            else:
                self._failure = self._failure or _refused_again(error)
        except TeacherError as error:
            self._failure = self._failure or error
        else:
            self._cache.complete(purchase, answer.outputs, teacher_id=answer.teacher_id, query_id=answer.query_id)
            self._bought += len(purchase.sample_keys)
            self._progress(self._bought, self._plan)
            if answer.teacher_id != self._description.id:
                self._failure = self._failure or _changed(self._description.id, answer.teacher_id)


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
    for opened in cache.open_purchases(description.id):
        mine = opened.payer == teacher.payer
        if (whose == "all" or not mine) and claims.brought_by(opened, held) and not cache.is_alive(opened.buyer_id):
            cache.void(opened)


def _changed(expected: str, found: str) -> TeacherChanged:
    return TeacherChanged(
        f"the teacher was replaced in the middle of the purchase: {expected} was asked, and {found} answered. Its "
        "answer is kept as its own, and nothing more was asked"
    )


def _uncertain(samples: int, bought: int) -> str:
    return (
        f"{bought} samples were bought and are kept; {samples} are left alone, for the requests that asked for them "
        "may have been charged, and this teacher would charge for them again. See its bill, and buy them again with "
        "`distill-worker fetch --abandon all`"
    )


def _refused_again(error: TeacherRefused) -> TeacherRefused:
    return TeacherRefused(
        f"{error}. This request was sent before, and may have been paid for then, so it is kept as it is: undo what "
        "changed at the teacher since; or give it up with `distill-worker fetch --abandon all`"
    )


def _told(failure: WorkerError, bought: int, plan: Plan) -> WorkerError:
    advice = "ask for a larger quota and " if isinstance(failure, QuotaExhausted) else ""
    told = type(failure)(
        f"{failure}. {bought} of {plan.outstanding} samples were bought and are kept; {advice}run the same command "
        "again to buy the rest"
    )
    told.__cause__ = failure
    return told


def _image(images: Mapping[bytes, Images], key: bytes) -> Images:
    try:
        return images[key]
    except KeyError:
        raise WorkerError(
            "a purchase begun earlier holds samples of another data set; fetch with that data set first, so that what "
            "may have been paid for is not lost"
        ) from None
