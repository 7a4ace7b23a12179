"""Plan a purchase: compare what is wanted with what the cache holds and the teacher sells. Planning spends nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from distill_worker.buying.kept_answers import reread, still_unread
from distill_worker.buying.order import PurchaseOrder
from distill_worker.buying.other_teachers import held_in_other_caches, held_of_others
from distill_worker.buying.plan import Plan
from distill_worker.cache import Cache
from distill_worker.cache.database.schema import KIND_SEPARATOR
from distill_worker.cache.purchases import answered_by_others, was_answered
from distill_worker.errors import PlanRefused
from distill_worker.teachers.base import Description, Quota
from shared.output_kinds import FEATURES

_GET_FEATURES: Final = "Get a key with access to features (`teacher-service keys create --features`)"


def plan(order: PurchaseOrder) -> Plan:
    """Plan a purchase, at one call for each sample that is missing.

    Kept answers of these samples are read again first, and what they bring is cached: see `kept_answers`.

    `order.abandon == "all"` allows samples that this teacher was paid for, but another answered in its place.

    Raises:
        WorkerError: the teacher does not sell these outputs, or it cannot be reached.
    """
    description, cache, samples = order.description, order.cache, order.samples
    kept, given_up = reread(order), order.given_up()
    claims = order.claims(given_up=given_up, answers_read=kept.last_id)
    held = [cache.holdings(stream_id) for stream_id in claims.stream_ids]
    lacking = [key for key in samples if not all(key in rows for rows in held)]
    if lacking:  # what is in the cache need not be for sale any more
        check_outputs(description, order.kinds)
        if order.abandon != "all":
            _check_name(description, cache, lacking, kept.of_others)
    pending = cache.pending(claims)
    unread = still_unread(order, kept, pending)
    blocked = unread.keys() - {key for purchase in pending.orphaned for key in purchase.sample_keys}
    quota = order.teacher.quota() if lacking else None
    _check_permission(quota, order.kinds)
    free = [key for key in lacking if key not in pending.samples and key not in blocked]
    repeated = sum(len(purchase.sample_keys) for purchase in pending.orphaned)
    to_buy = free if order.max_calls is None else free[: max(0, order.max_calls - repeated)]
    in_part = [rows for rows in held if any(key in rows for key in to_buy)]
    return Plan(
        teacher_id=description.id,
        kinds=order.kinds,
        samples=tuple(samples),
        cached=len(samples) - len(lacking),
        reopened=pending.orphaned,
        elsewhere=len(pending.elsewhere),
        uncertain=len(claims.uncertain - blocked),
        to_buy=tuple(to_buy),
        left_out=len(free) - len(to_buy),
        again=sum(
            any(key in rows for rows in in_part) or any((key, kind) in pending.requested for kind in order.kinds)
            for key in to_buy
        ),
        request_size=order.request_size,
        new_requests=order.requests_for(len(to_buy)),
        quota=quota,
        max_calls=order.max_calls,
        price_per_call=order.price_per_call,
        currency=order.currency,
        unread=Counter(unread.values()),
        blocked=frozenset(blocked),
        answers_read=kept.last_id,
        is_unanswered=bool(claims.uncertain) and not _was_answered(order),
        sends=description.sends,
        held_of_others=(
            *held_in_other_caches(order.other_caches, description.id, order.kinds, to_buy),
            *held_of_others(cache, description.id, order.kinds, to_buy),
        ),
        given_up=given_up,
    )


def plan_of_cached(
    description: Description, cache: Cache, sample_keys: Sequence[bytes], *, kinds: tuple[str, ...]
) -> Plan | None:
    """The plan of a purchase whose outputs are all in the cache; None if some are missing."""
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
        new_requests=0,
        quota=None,
    )


def _was_answered(order: PurchaseOrder) -> bool:
    with order.cache.reading() as connection:
        return was_answered(connection, order.description.id, order.description.source)


def _check_name(
    description: Description, cache: Cache, lacking: Sequence[bytes], of_others: Mapping[bytes, str]
) -> None:
    with cache.reading() as connection:
        others = {**answered_by_others(connection, description.id), **of_others}
    if answered := [others[key] for key in lacking if key in others]:
        raise PlanRefused(
            f"teacher: expected answers of {description.id}, got answers of {answered[0]} for {len(answered)} of these "
            f"samples in an earlier purchase. Nothing was spent now. If the teacher always answers as {answered[0]}, "
            "set teacher.model_version; otherwise pay for these samples again with `distill-worker fetch --abandon all`"
        )


def check_outputs(description: Description, kinds: Iterable[str]) -> None:
    """Raise `PlanRefused` if the teacher does not sell all of these kinds."""
    for kind in kinds:
        if KIND_SEPARATOR in kind:
            raise PlanRefused(
                f"method: expected outputs without {KIND_SEPARATOR!r} in their names, got {kind!r}. Nothing was spent"
            )
        if kind not in description.outputs:
            advice = f". {_GET_FEATURES}" if kind.startswith(FEATURES) else ""
            raise PlanRefused(
                f"method: expected the output {kind!r}, but the teacher sells this API key "
                f"{', '.join(description.outputs) or 'nothing'}. Nothing was spent{advice}"
            )


def _check_permission(quota: Quota | None, kinds: tuple[str, ...]) -> None:
    hidden = [kind for kind in kinds if kind.startswith(FEATURES)]
    if hidden and quota is not None and quota.features is False:
        raise PlanRefused(
            f"method: expected access to {', '.join(hidden)}, but this API key has no access to features. Nothing was "
            f"spent. {_GET_FEATURES}"
        )
