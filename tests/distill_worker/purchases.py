"""What the tests of buying share: a cache that fails when told to, one whole purchase, and the count at its end."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill_worker.buying.fetch import Callbacks, Progress, fetch
from distill_worker.buying.order import Abandoned, PurchaseOrder
from distill_worker.buying.plan import Plan
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache, Claims, Purchase, RawAnswer
from distill_worker.cache.purchases import new_purchase
from distill_worker.config.run_config import RunConfig
from distill_worker.runs import purchase as buying
from distill_worker.runs.sampling.samples import Samples as RunSamples
from shared.durable.process_lock import ProcessLock
from tests.distill_worker.fake_teacher import Crash, FakeTeacher, answer

Samples = Mapping[bytes, NDArray[np.uint8]]


def intend(cache: Cache, stream_id: int, sample_keys: Sequence[bytes], *, payer: str) -> Purchase:
    """Write the intent of a purchase whose buyer has ended."""
    with cache.writing() as connection:
        return new_purchase(connection, stream_id, sample_keys, payer=payer, buyer_id=None, now=cache.now())


def cached_outputs(cache: Cache, stream_id: int, wanted: Iterable[bytes]) -> dict[bytes, NDArray[np.float32]]:
    """The cached outputs of the wanted samples, each float32 `[values]`."""
    holdings = cache.holdings(stream_id)
    keys = [key for key in dict.fromkeys(wanted) if key in holdings]
    values = cache.aligned(stream_id, keys)
    return dict(zip(keys, values.reshape(len(keys), -1) if keys else values, strict=True))


class CrashingCache(Cache):
    """A cache that fails at one step, before or after it was written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.crash_at: tuple[str, str, int] | None = None
        self.error: BaseException = Crash()
        self.voided = Event()

    def _step(self, name: str, when: str) -> None:
        if self.crash_at is None or self.crash_at[:2] != (name, when):
            return
        left = self.crash_at[2]
        self.crash_at = (name, when, left - 1) if left else None
        if not left:
            raise self.error

    def claim(self, claims: Claims, buyer: ProcessLock, count: int) -> list[Purchase]:
        """See `Cache`."""
        self._step("claim", "before")
        taken = super().claim(claims, buyer, count)
        self._step("claim", "after")
        return taken

    def complete(
        self,
        purchase: Purchase,
        outputs: Mapping[str, NDArray[np.float32]],
        *,
        teacher_id: str | None = None,
        query_id: str | None = None,
        raw: RawAnswer | None = None,
    ) -> None:
        """See `Cache`."""
        self._step("complete", "before")
        super().complete(purchase, outputs, teacher_id=teacher_id, query_id=query_id, raw=raw)
        self._step("complete", "after")

    def void(self, purchase: Purchase) -> None:
        """See `Cache`; `voided` is set afterwards."""
        super().void(purchase)
        self.voided.set()


def order_for(teacher: FakeTeacher, cache: Cache, samples: Samples, **terms: Any) -> PurchaseOrder:
    """An order for these samples; `terms` are its other fields, with four samples in a request by default."""
    return PurchaseOrder(teacher, teacher.description, cache, samples, **{"request_size": 4, **terms})


def plan_for(teacher: FakeTeacher, cache: Cache, samples: Samples, request_size: int = 4) -> Plan:
    """What these samples would take."""
    return plan(order_for(teacher, cache, samples, request_size=request_size))


def give_up(order: PurchaseOrder) -> None:
    """Give up what an order names, as a purchase that buys all of it anew does."""
    given_up = plan(order).given_up
    for purchase in order.cache.abandonable(order.description.id, source=order.description.source):
        if purchase.id in given_up:
            order.cache.void(purchase)


def buy_as_configured(
    config: RunConfig,
    samples: RunSamples,
    teacher: FakeTeacher,
    cache: Cache,
    *,
    abandon: Abandoned | None = None,
    **given: Any,
) -> tuple[Plan, int]:
    """Order and buy what a run lacks, as one command does."""
    order = buying.make_order(config, samples, teacher, teacher.description, cache, abandon=abandon)
    return buying.buy([order], samples.images_by_key(), address=config.teacher, **given)


def carry_out(
    teacher: FakeTeacher,
    cache: Cache,
    samples: Samples,
    *,
    request_size: int = 4,
    concurrency: int = 1,
    progress: Progress = lambda _done, _plan: None,
) -> int:
    """Plan and fetch, as one command does."""
    made = plan_for(teacher, cache, samples, request_size)
    return carry_out_plan(teacher, cache, made, samples, concurrency=concurrency, progress=progress)


def carry_out_plan(
    teacher: FakeTeacher,
    cache: Cache,
    made: Plan,
    samples: Samples,
    *,
    concurrency: int = 1,
    progress: Progress = lambda _done, _plan: None,
) -> int:
    """Fetch what was planned, with a new connection to the teacher."""
    teacher.stopped = False
    order = order_for(
        teacher,
        cache,
        {key: samples[key] for key in made.samples},
        kinds=made.kinds,
        request_size=made.request_size,
        concurrency=concurrency,
    )
    with cache.buying() as buyer:
        return fetch(order, made, samples, buyer=buyer, callbacks=Callbacks(progress=progress))


def assert_bought_once(teacher: FakeTeacher, cache: Cache, samples: Samples) -> None:
    """Paid == n, no sample under two keys, nothing left open, and each output is its own sample's."""
    assert teacher.paid == len(samples)
    keys_of: dict[bytes, set[str]] = {}
    for idempotency_key, sent in teacher.sent:
        for key in sent:
            keys_of.setdefault(key, set()).add(idempotency_key)
    assert all(len(idempotency_keys) == 1 for idempotency_keys in keys_of.values())
    stream_id = cache.stream(teacher.description.id, "logits")
    assert cache.open_purchases(teacher.description.id) == []
    held = cached_outputs(cache, stream_id, samples)
    assert {key: row.tolist() for key, row in held.items()} == {
        key: answer(image[None])[0].tolist() for key, image in samples.items()
    }
