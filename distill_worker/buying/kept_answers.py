"""Read kept answers again: those that were paid, under the teacher's present settings. Sends nothing.

An answer is kept if it could not be read; and if other settings give it another meaning, always.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from distill_worker.buying.order import PurchaseOrder
from distill_worker.cache import Purchase
from distill_worker.cache.claims import Pending
from distill_worker.cache.raw_answers import (
    KeptAnswer,
    kept_answers,
    last_answer_id,
    raw_answer,
    store_of_same_content,
    store_reread,
)
from distill_worker.errors import AnswerUnread, counted
from distill_worker.teachers.base import Answer

_STORED_AT_ONCE: Final = 200
_REASONS_SHOWN: Final = 3


@dataclass
class Reread:
    """What became of the kept answers of wanted samples."""

    unread: dict[bytes, str] = field(default_factory=dict)
    """Why a sample's answer cannot be read, by sample key."""
    of_others: dict[bytes, str] = field(default_factory=dict)
    """The id of the teacher that answered in place of the described one, by sample key."""
    last_id: int = 0
    """The id of the last kept answer, of any source: those after it were not read."""


def reread(order: PurchaseOrder, *, after: int = 0, by_content: bool = True) -> Reread:
    """Read the kept answers of wanted samples whose outputs are not cached, and cache their outputs.

    Args:
        order: what is wanted, under the present settings.
        after: only answers with a larger id.
        by_content: also answers to other samples that were sent as the same content, which encodes the samples.

    Raises:
        CacheError: the cache cannot be read or written.
    """
    cache, description = order.cache, order.description
    with cache.reading() as connection:
        result = Reread(last_id=last_answer_id(connection))
    held = [cache.holdings(cache.stream(description.id, kind)) for kind in order.kinds]
    lacking = {key for key in order.samples if not all(key in rows for rows in held)}
    if not lacking:
        return result
    with cache.reading() as connection:
        kept = kept_answers(connection, description.id, description.source, after=after)
    answers: list[tuple[Purchase, Answer]] = []
    for one in kept:
        keys = lacking.intersection(one.purchase.sample_keys)
        if not keys:
            continue
        try:
            answer = _read(order, one)
        except AnswerUnread as error:
            result.unread |= dict.fromkeys(keys, str(error))
            continue
        if answer.teacher_id != description.id:
            result.of_others |= dict.fromkeys(keys, answer.teacher_id)
        if answer.teacher_id == description.id or one.purchase.is_unread:
            answers.append((one.purchase, answer))
    _store(order, answers)
    if by_content:
        _reread_same_content(order, kept, lacking, result)
    return result


def _reread_same_content(order: PurchaseOrder, kept: Iterable[KeptAnswer], lacking: set[bytes], result: Reread) -> None:
    """Read answers to unwanted samples for wanted ones that would be sent as the same content.

    The same file is another sample if its pixels differ, for example in another `data.image_size`.
    """
    unwanted: dict[str | None, KeptAnswer] = {
        one.sent: one for one in kept if one.sent and not order.samples.keys() & set(one.purchase.sample_keys)
    }
    for key in lacking if unwanted else ():
        one = unwanted.get(order.teacher.content_id(order.samples[key]))
        if one is None:
            continue
        try:
            answer = _read(order, one)
        except AnswerUnread as error:
            result.unread[key] = str(error)
            continue
        if answer.teacher_id != order.description.id:
            result.of_others[key] = answer.teacher_id
            continue
        order_id = order.cache.order(answer.teacher_id, order.kinds)
        with order.cache.writing() as connection:
            store_of_same_content(
                connection,
                key,
                answer.outputs,
                teacher_id=answer.teacher_id,
                order_id=order_id,
                now=order.cache.now(),
            )


def still_unread(order: PurchaseOrder, kept: Reread, pending: Pending) -> dict[bytes, str]:
    """Why the answers of samples cannot be read, for those that are not bought again."""
    if order.description.source is None:  # a purchase of other kinds may bring what is wanted
        return {key: reason for key, reason in kept.unread.items() if key in pending.samples}
    return {} if order.abandon == "all" else kept.unread


def most_common_reasons(unread: Mapping[str, int]) -> list[tuple[str, int]]:
    """The few most common reasons why answers cannot be read, each with its samples, and the samples of all others."""
    ordered = sorted(unread.items(), key=lambda row: (-row[1], row[0]))
    others = sum(samples for _, samples in ordered[_REASONS_SHOWN:])
    return ordered[:_REASONS_SHOWN] + ([("other reasons", others)] if others else [])


def why_blocked(samples: int, unread: Mapping[str, int]) -> str:
    """The message about samples that are not bought, with the reasons why paid answers cannot be read."""
    reasons = "; ".join(f"{reason} ({counted(number, 'sample')})" for reason, number in most_common_reasons(unread))
    return (
        f"teacher: expected answers that can be read, got {counted(samples, 'sample')} with paid answers that cannot "
        f"be read: {reasons}. Nothing was spent now. The answers are kept: correct [teacher] and run the same command "
        "again, which reads them without a request; train without them, if others were bought: distill-worker train "
        "--held; or give them up and pay again with `distill-worker fetch --abandon all`"
    )


def why_unanswered(samples: int) -> str:
    """The message about samples that may have been charged, at a teacher that never answered."""
    return (
        f"teacher: expected an answer to an earlier request, got none: {counted(samples, 'sample')} may have been "
        "charged, and would be charged again. Nothing was spent now, because other samples would most likely end the "
        "same way. Check [teacher] and the server, compare with the bill, then buy all samples with `distill-worker "
        "fetch --abandon all`"
    )


def _read(order: PurchaseOrder, kept: KeptAnswer) -> Answer:
    purchase = kept.purchase
    try:
        with order.cache.reading() as connection:
            raw = raw_answer(connection, kept)
    except (zlib.error, ValueError) as error:
        raise AnswerUnread(f"the kept answer is damaged ({error}); see `distill-worker cache verify`") from error
    return order.teacher.read(
        raw,
        samples=len(purchase.sample_keys),
        description=order.description,
        idempotency_key=purchase.idempotency_key,
        outputs=_kinds(order, purchase),
    )


def _kinds(order: PurchaseOrder, purchase: Purchase) -> tuple[str, ...]:
    """The kinds to read: those that were bought, or if other settings may read others, those that are wanted."""
    return purchase.kinds if order.description.source is None else order.kinds


def _store(order: PurchaseOrder, answers: Iterable[tuple[Purchase, Answer]]) -> None:
    left = list(answers)
    while left:
        now, left = left[:_STORED_AT_ONCE], left[_STORED_AT_ONCE:]
        order_ids = [order.cache.order(order.description.id, _kinds(order, purchase)) for purchase, _ in now]
        with order.cache.writing() as connection:
            for (purchase, answer), order_id in zip(now, order_ids, strict=True):
                store_reread(
                    connection,
                    purchase,
                    answer.outputs,
                    teacher_id=answer.teacher_id,
                    order_id=order_id,
                    now=order.cache.now(),
                )
