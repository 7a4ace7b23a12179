"""Buying what is missing: plan, purchase, keep.

    plan()   what is wanted, held, to buy and remaining: asked before anything is spent, and spends nothing
    fetch()  open purchases again first, then the missing samples, several requests in flight

Invariant: a sample is never sent under a second Idempotency-Key while the fate of a first, which would bring all that
it lacks, is unknown.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distill_worker.cache import Cache, Purchase
from distill_worker.cache_schema import KIND_SEPARATOR
from distill_worker.errors import PlanRefused, QuotaExhausted, TeacherError, TeacherRefused, WorkerError
from distill_worker.teachers.base import Answer, Description, Quota, Teacher

Images = NDArray[np.uint8]
Abandoned = Literal["other-keys", "all"]
"""Whose open purchases to give up: those that another API key began, or this one's too, which would replay free."""

Progress = Callable[[int, "Plan"], None]
"""Told how many samples of the plan have been bought and kept so far."""


@dataclass(frozen=True)
class Plan:
    """What a purchase would cost, in samples (one call each)."""

    teacher_id: str
    stream_id: int
    """Under which purchases of these kinds are written down."""
    kinds: tuple[str, ...]
    """What is bought of each sample, with one call."""
    wanted: int
    cached: int
    reopened: tuple[Purchase, ...]
    """Purchases begun earlier whose end is unknown; repeating them costs nothing if they were charged."""
    to_buy: tuple[bytes, ...]
    """Sample keys to ask for the first time, or again for kinds that are not held."""
    again: int
    """How many of them are paid for again, because only some of the kinds are held, or on their way in a purchase begun
    earlier that would not bring the others."""
    request_size: int
    """Samples in a request that asks for the first time."""
    quota: Quota | None

    @property
    def requests(self) -> int:
        """How many requests it takes."""
        return len(self.reopened) + ceil(len(self.to_buy) / self.request_size)

    @property
    def reopened_samples(self) -> int:
        """Samples in purchases begun earlier."""
        return sum(len(purchase.sample_keys) for purchase in self.reopened)

    @property
    def outstanding(self) -> int:
        """Samples to ask for, the first time or again."""
        return len(self.to_buy) + self.reopened_samples

    @property
    def shortfall(self) -> int:
        """Calls that the quota lacks for certain; 0 when it suffices or is not known."""
        return max(0, len(self.to_buy) - self.quota.remaining) if self.quota else 0

    def check(self) -> None:
        """Raise `PlanRefused` when the quota cannot pay."""
        if self.quota is not None and self.shortfall:
            raise PlanRefused(
                f"budget.n: {self.wanted} samples are wanted and {self.cached} are held, so {len(self.to_buy)} must be "
                f"bought, but {self.quota.remaining} calls remain of {self.quota.limit}. Nothing was spent. Lower n by "
                f"{self.shortfall}, or ask for a larger quota"
            )


def plan(
    teacher: Teacher,
    description: Description,
    cache: Cache,
    samples: Mapping[bytes, Images],
    *,
    request_size: int,
    kinds: tuple[str, ...] = ("logits",),
) -> Plan:
    """What buying these kinds of output of `samples` (images by sample key) would take, one call a sample.

    Raises:
        WorkerError: the images do not fit the teacher, it does not sell that, or it cannot be asked.
    """
    _check_shape(description, samples)
    _check_offer(description, kinds)
    kinds = tuple(sorted(set(kinds)))
    lacking = _lacking(cache, description.id, kinds, samples)
    quota = teacher.quota() if lacking else None
    _check_permission(quota, kinds)
    opened = _open_purchases(cache, description.id)
    reopened, covered = _to_repeat(sorted(opened, key=lambda purchase: purchase.payer != teacher.payer), lacking)
    if any(purchase.payer != teacher.payer for purchase in reopened):
        raise PlanRefused(
            "some of these samples were asked for with another API key, in a purchase whose end is not known: they may "
            "have been paid for with it. Run once with that API key to finish it, or `distill-worker fetch --abandon "
            "other-keys` "
            "to buy them again with this one"
        )
    to_buy = tuple(key for key in lacking if key not in covered)
    begun = {(key, kind) for purchase in opened for key in purchase.sample_keys for kind in purchase.kinds}
    return Plan(
        teacher_id=description.id,
        stream_id=cache.order(description.id, kinds),
        kinds=kinds,
        wanted=len(samples),
        cached=len(samples) - len(lacking),
        reopened=reopened,
        to_buy=to_buy,
        again=sum(any(kind not in lacking[key] or (key, kind) in begun for kind in kinds) for key in to_buy),
        request_size=min(request_size, description.max_request_size or request_size),
        quota=quota,
    )


def fetch(
    teacher: Teacher,
    description: Description,
    cache: Cache,
    plan: Plan,
    images: Mapping[bytes, Images],
    *,
    concurrency: int,
    progress: Progress = lambda _done, _plan: None,
) -> int:
    """Carry out a plan; the number of samples bought. `images` holds the whole data set's images by sample key.

    Call it as the cache's sole buyer, with a plan made as such.

    Whatever is bought before a failure is kept, and the next call goes on from there.

    Raises:
        PlanRefused: the quota cannot pay; nothing was spent.
        QuotaExhausted: the quota ran out on the way; what was bought is kept.
        TeacherError, CacheError: see there; what was bought is kept.
    """
    plan.check()
    size = plan.request_size
    todo: list[Purchase | Sequence[bytes]] = [*plan.reopened]
    todo += [plan.to_buy[start : start + size] for start in range(0, len(plan.to_buy), size)]
    todo.reverse()
    bought = 0
    failure: WorkerError | None = None
    flying: dict[Future[Answer], Purchase] = {}
    with ThreadPoolExecutor(concurrency, thread_name_prefix="purchase") as pool:
        while flying or (todo and failure is None):
            while todo and failure is None and len(flying) < concurrency:
                next_up = todo.pop()
                purchase = (
                    next_up
                    if isinstance(next_up, Purchase)
                    else cache.intend(plan.stream_id, next_up, payer=teacher.payer)
                )
                batch = np.stack([_image(images, key) for key in purchase.sample_keys])
                future = pool.submit(
                    teacher.buy,
                    batch,
                    description=description,
                    idempotency_key=purchase.idempotency_key,
                    outputs=purchase.kinds,
                )
                flying[future] = purchase
            landed, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in landed:
                purchase = flying.pop(future)
                try:
                    answer = future.result()
                except TeacherRefused as error:
                    # A purchase begun earlier may have been charged then; only the quota's refusal disproves it.
                    if purchase not in plan.reopened or isinstance(error, QuotaExhausted):
                        cache.void(purchase)
                        failure = failure or error
                    else:
                        failure = failure or _refused_again(error)
                except TeacherError as error:
                    failure = failure or error
                else:
                    cache.complete(purchase, answer.outputs)
                    bought += len(purchase.sample_keys)
                    progress(bought, plan)
    if failure is not None:
        raise _told(failure, bought, plan)
    return bought


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

    Raises:
        TeacherError: the present key is not accepted; nothing was given up.
    """
    teacher.quota()
    lacking = _lacking(cache, description.id, kinds, samples)
    for opened in _open_purchases(cache, description.id):
        if (whose == "all" or opened.payer != teacher.payer) and _covered(opened, lacking):
            cache.void(opened)


def _lacking(
    cache: Cache, teacher_id: str, kinds: Sequence[str], samples: Mapping[bytes, Images]
) -> dict[bytes, frozenset[str]]:
    """The kinds that are not held of each sample, for those samples that lack any."""
    absent = {kind: set(cache.missing(cache.stream(teacher_id, kind), samples)) for kind in kinds}
    lacking = {key: frozenset(kind for kind in kinds if key in absent[kind]) for key in samples}
    return {key: lacked for key, lacked in lacking.items() if lacked}


def _open_purchases(cache: Cache, teacher_id: str) -> list[Purchase]:
    """All of this teacher's, whatever they ask for, in the order in which they were begun."""
    opened = [purchase for order in cache.orders(teacher_id).values() for purchase in cache.open_purchases(order)]
    return sorted(opened, key=lambda purchase: purchase.id)


def _covered(purchase: Purchase, lacking: Mapping[bytes, frozenset[str]]) -> set[bytes]:
    """The samples that lack nothing when this purchase is finished.

    For the others it is not worth repeating: what they lack besides is bought with a call that brings everything.
    """
    return {key for key in purchase.sample_keys if key in lacking and lacking[key] <= set(purchase.kinds)}


def _to_repeat(
    opened: Sequence[Purchase], lacking: Mapping[bytes, frozenset[str]]
) -> tuple[tuple[Purchase, ...], set[bytes]]:
    """The purchases to finish, of which none is for samples that one before covers, and the samples they cover."""
    chosen: list[Purchase] = []
    covered: set[bytes] = set()
    for purchase in opened:
        if brought := _covered(purchase, lacking) - covered:
            chosen.append(purchase)
            covered |= brought
    return tuple(chosen), covered


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


def _check_shape(description: Description, samples: Mapping[bytes, Images]) -> None:
    for image in samples.values():
        if image.shape != description.image_shape:
            raise WorkerError(
                f"data: the teacher takes images of shape {list(description.image_shape)}, the data set has "
                f"{list(image.shape)}; is this the right teacher?"
            )
        return


def _check_offer(description: Description, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        if KIND_SEPARATOR in kind:
            raise PlanRefused(f"method: expected outputs without {KIND_SEPARATOR!r} in their names, got {kind!r}")
        if kind not in description.outputs:
            offered = ", ".join(description.outputs)
            raise PlanRefused(f"method: {kind!r} is wanted, and the teacher offers {offered}. Nothing was spent")


def _check_permission(quota: Quota | None, kinds: tuple[str, ...]) -> None:
    hidden = [kind for kind in kinds if kind != "logits"]
    if hidden and quota is not None and quota.features is False:
        raise PlanRefused(
            f"method: {', '.join(hidden)} is wanted, and this API key may see logits alone. Nothing was spent. Ask for "
            "a key that may see features (`teacher-service keys create --features`)"
        )


def _image(images: Mapping[bytes, Images], key: bytes) -> Images:
    try:
        return images[key]
    except KeyError:
        raise WorkerError(
            "a purchase begun earlier holds samples of another data set; fetch with that data set first, so that what "
            "may have been paid for is not lost"
        ) from None
