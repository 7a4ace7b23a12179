"""What a purchase would take: asked before anything is spent, and spends nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill_worker.cache import Cache, Claims, Purchase
from distill_worker.cache.database.schema import KIND_SEPARATOR
from distill_worker.cache.purchases import answered_by_others
from distill_worker.errors import PlanRefused, WorkerError
from distill_worker.teachers.base import Description, Quota, Teacher
from shared.output_kinds import FEATURES

Images = NDArray[np.uint8]

_ASK_FOR_FEATURES = "Ask for a key that may see features (`teacher-service keys create --features`)"


@dataclass(frozen=True)
class Plan:
    """What a purchase would cost, in samples (one call each)."""

    teacher_id: str
    kinds: tuple[str, ...]
    """What is bought of each sample, with one call."""
    samples: tuple[bytes, ...]
    """Sample keys, all that are wanted."""
    cached: int
    reopened: tuple[Purchase, ...]
    """Purchases begun earlier whose end is unknown; repeating them costs nothing if they were charged."""
    elsewhere: int
    """Samples that another worker is buying into the same cache just now."""
    uncertain: int
    """Samples of purchases begun earlier that may have been charged, and would be charged again: left alone."""
    to_buy: tuple[bytes, ...]
    """Sample keys to ask for the first time, or again for kinds that are not held."""
    left_out: int
    """Samples that are not bought because of the most calls that are allowed."""
    again: int
    """How many of those to buy are paid for again, because only some of the kinds are held, or on their way in a
    purchase begun earlier that would not bring the others."""
    request_size: int
    """Samples in a request that asks for the first time."""
    quota: Quota | None
    max_calls: int | None = None
    """The most samples to ask for, the first time or again."""
    price_per_call: float | None = None
    currency: str = "USD"

    @property
    def wanted(self) -> int:
        """Samples that are wanted."""
        return len(self.samples)

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

    @property
    def most_calls(self) -> int:
        """How many samples may be charged: what was begun earlier may not have been."""
        return self.outstanding if self.max_calls is None else min(self.outstanding, self.max_calls)

    @property
    def price(self) -> float | None:
        """What it costs at most, in `currency`; None when no price is configured."""
        return self.price_of(self.most_calls)

    @property
    def seconds(self) -> float | None:
        """How long it takes at the rate that is allowed, at least; None when none is told."""
        return None if self.quota is None else self.quota.seconds_for(len(self.to_buy), self.requests)

    def seconds_left(self, done: int, took: float) -> float:
        """How long the rest takes, when so many samples took so many seconds.

        What is allowed at once goes fast, so the pace so far promises too much where a rate is told.
        """
        left = self.outstanding - done
        return max(left * took / max(done, 1), (self.seconds or 0.0) - took) if left > 0 else 0.0

    def price_of(self, calls: int) -> float | None:
        """What so many calls cost, in `currency`; None when no price is configured."""
        return None if self.price_per_call is None else round(calls * self.price_per_call, 9)

    def facts(self) -> dict[str, Any]:
        """As JSON-able facts."""
        quota = self.quota
        return {
            "teacher_id": self.teacher_id,
            "kinds": list(self.kinds),
            "wanted": self.wanted,
            "cached": self.cached,
            "begun_earlier": self.reopened_samples,
            "bought_elsewhere": self.elsewhere,
            "uncertain": self.uncertain,
            "to_buy": len(self.to_buy),
            "left_out": self.left_out,
            "most_calls": self.most_calls,
            "paid_again": self.again,
            "requests": self.requests,
            "remaining": quota.remaining if quota else None,
            "limit": quota.limit if quota else None,
            "affordable": self.shortfall == 0,
            "price": self.price,
            "currency": None if self.price is None else self.currency,
            "seconds_at_allowed_rate": self.seconds,
        }

    def check(self) -> None:
        """Raise `PlanRefused` when the quota cannot pay."""
        if self.quota is not None and self.shortfall:
            remaining = self.quota.remaining
            part = f"buy a part with --max-calls {remaining}, " if remaining else ""
            raise PlanRefused(
                f"budget.n: {self.wanted} samples are wanted and {self.cached} are held, so {len(self.to_buy)} must be "
                f"bought, but {remaining} calls remain of {self.quota.limit}. Nothing was spent. Lower n by "
                f"{self.shortfall + self.left_out}, {part}or ask for a larger quota"
            )


def plan(
    teacher: Teacher,
    description: Description,
    cache: Cache,
    samples: Mapping[bytes, Images],
    *,
    request_size: int,
    kinds: tuple[str, ...] = ("logits",),
    max_calls: int | None = None,
    pay_again: bool = False,
    price_per_call: float | None = None,
    currency: str = "USD",
) -> Plan:
    """What buying these kinds of output of `samples` (images by sample key) would take, one call a sample.

    `pay_again` allows samples that this teacher was asked about, and that another answered in its place.

    Raises:
        WorkerError: the images do not fit the teacher, it does not sell that, or it cannot be asked.
    """
    _check_shape(description, samples)
    kinds = tuple(sorted(set(kinds)))
    size = min(request_size, description.max_request_size or request_size)
    claims = claims_on(cache, description, kinds, tuple(samples), payer=teacher.payer, request_size=size)
    held = [cache.holdings(stream_id) for stream_id in claims.stream_ids]
    lacking = [key for key in samples if not all(key in rows for rows in held)]
    if lacking:  # what is held needs no offer any more
        _check_offer(description, kinds)
        if not pay_again:
            _check_name(description, cache, lacking)
    pending = cache.pending(claims)
    quota = teacher.quota() if lacking else None
    _check_permission(quota, kinds)
    free = [key for key in lacking if key not in pending.samples]
    repeated = sum(len(purchase.sample_keys) for purchase in pending.orphaned)
    to_buy = free if max_calls is None else free[: max(0, max_calls - repeated)]
    in_part = [rows for rows in held if any(key in rows for key in to_buy)]
    return Plan(
        teacher_id=description.id,
        kinds=kinds,
        samples=tuple(samples),
        cached=len(samples) - len(lacking),
        reopened=pending.orphaned,
        elsewhere=len(pending.elsewhere),
        uncertain=len(claims.uncertain),
        to_buy=tuple(to_buy),
        left_out=len(free) - len(to_buy),
        again=sum(
            any(key in rows for rows in in_part) or any((key, kind) in pending.requested for kind in kinds)
            for key in to_buy
        ),
        request_size=size,
        quota=quota,
        max_calls=max_calls,
        price_per_call=price_per_call,
        currency=currency,
    )


def plan_of_held(
    description: Description, cache: Cache, sample_keys: Sequence[bytes], *, kinds: tuple[str, ...]
) -> Plan | None:
    """The plan of a purchase for which nothing is lacking; None where something is."""
    kinds = tuple(sorted(set(kinds)))
    if not all(cache.holdings(cache.stream(description.id, kind)).has_all(sample_keys) for kind in kinds):
        return None
    samples = tuple(dict.fromkeys(sample_keys))
    return Plan(
        teacher_id=description.id,
        kinds=kinds,
        samples=samples,
        cached=len(samples),
        reopened=(),
        elsewhere=0,
        uncertain=0,
        to_buy=(),
        left_out=0,
        again=0,
        request_size=1,
        quota=None,
    )


def claims_on(
    cache: Cache,
    description: Description,
    kinds: Sequence[str],
    wanted: Sequence[bytes],
    *,
    payer: str,
    request_size: int,
    most_calls: int | None = None,
) -> Claims:
    """A wish for these kinds of output of some samples, of this teacher."""
    return Claims(
        description.id,
        cache.order(description.id, kinds),
        [(kind, cache.stream(description.id, kind)) for kind in kinds],
        payer=payer,
        wanted=wanted,
        request_size=request_size,
        most_calls=most_calls,
        repeats_are_free=description.repeats_are_free,
    )


def _check_shape(description: Description, samples: Mapping[bytes, Images]) -> None:
    for image in samples.values():
        if description.image_shape is not None and image.shape != description.image_shape:
            raise WorkerError(
                f"data: the teacher takes images of shape {list(description.image_shape)}, the data set has "
                f"{list(image.shape)}; is this the right teacher?"
            )
        return


def _check_name(description: Description, cache: Cache, lacking: Sequence[bytes]) -> None:
    with cache.reading() as connection:
        others = answered_by_others(connection, description.id)
    if answered := [others[key] for key in lacking if key in others]:
        raise PlanRefused(
            f"teacher: {len(answered)} of these samples were asked of {description.id}, and {answered[0]} answered and "
            "was paid. Asked again they would be paid again. Say teacher.model_version if it always answers so; else "
            "buy them again with `distill-worker fetch --abandon all`"
        )


def _check_offer(description: Description, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        if KIND_SEPARATOR in kind:
            raise PlanRefused(f"method: expected outputs without {KIND_SEPARATOR!r} in their names, got {kind!r}")
        if kind not in description.outputs:
            offered = ", ".join(description.outputs)
            hidden = f". {_ASK_FOR_FEATURES}" if kind.startswith(FEATURES) else ""
            raise PlanRefused(
                f"method: {kind!r} is wanted, and the teacher offers this API key {offered}. Nothing was spent{hidden}"
            )


def _check_permission(quota: Quota | None, kinds: tuple[str, ...]) -> None:
    hidden = [kind for kind in kinds if kind.startswith(FEATURES)]
    if hidden and quota is not None and quota.features is False:
        raise PlanRefused(
            f"method: {', '.join(hidden)} is wanted, and this API key may not see it. Nothing was spent. "
            f"{_ASK_FOR_FEATURES}"
        )
