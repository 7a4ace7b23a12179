"""Who buys what, where several processes want the same samples: a sample is in one open purchase at a time.

Invariant: a sample is never written down under a second Idempotency-Key while the fate of a first, which would bring
all that it lacks, is unknown.
"""

import secrets
from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, CursorResult, insert, select, update

from distill_worker.cache.database import schema
from distill_worker.cache.records import Purchase, split_keys, split_kinds
from distill_worker.errors import PlanRefused
from shared.durable.process_lock import ProcessLock

OTHER_PAYER = (
    "some of these samples were asked for with another API key, in a purchase whose end is not known: they may have "
    "been paid for with it. Run once with that API key to finish it, or `distill-worker fetch --abandon other-keys` to "
    "buy them again with this one"
)


Held = Sequence[Container[bytes]]
"""The samples that are held, of each kind that is wanted."""
IsAlive = Callable[[str | None], bool]


@dataclass(frozen=True)
class Seen:
    """What others began of what is wanted."""

    left_open: tuple[Purchase, ...]
    """By nobody who lives: for whoever comes to repeat."""
    begun: set[bytes]
    """Samples in any of these, in the process's own purchases, or uncertain."""
    elsewhere: set[bytes]
    """Samples that another living process sees to."""
    asked: set[tuple[bytes, str]]
    """Samples and kinds in any purchase whose end is not known."""


class Claims:
    """What one process still wants of one teacher, and has not begun to buy."""

    def __init__(
        self,
        teacher_id: str,
        order_id: int,
        streams: Sequence[tuple[str, int]],
        *,
        payer: str,
        wanted: Sequence[bytes],
        request_size: int,
        most_calls: int | None = None,
        repeats_are_free: bool = True,
    ) -> None:
        """Want some samples.

        Args:
            teacher_id: whose outputs.
            order_id: under which purchases of all these kinds are written down.
            streams: each kind of output, and under which id its outputs are kept.
            payer: the account that pays.
            wanted: sample keys, each once, in the order in which they are bought.
            request_size: samples in a purchase.
            most_calls: how many samples may be asked for, the first time or again; any number when None.
            repeats_are_free: whether what somebody left open may be repeated.
        """
        self.stream_ids = [stream_id for _, stream_id in streams]
        self.uncertain: set[bytes] = set()
        """Samples in purchases that somebody left open, and that may have to be paid for again."""
        self.held_back = 0
        """Samples that nobody sees to and that are more than may be asked for, as far as the last look showed."""
        self._calls_left = most_calls
        self._kinds = [kind for kind, _ in streams]
        self._teacher_id = teacher_id
        self._order_id = order_id
        self._payer = payer
        self._request_size = request_size
        self._repeats_are_free = repeats_are_free
        self._wanted = frozenset(wanted)
        self._todo = deque(wanted)
        self._elsewhere: list[bytes] = []
        self._mine: set[int] = set()

    @property
    def left(self) -> int:
        """Samples that are neither held nor begun by this process, as far as the last look showed."""
        return len(self._todo) + len(self._elsewhere)

    def take(
        self, connection: Connection, held: Held, is_alive: IsAlive, buyer: ProcessLock, count: int, *, now: float
    ) -> list[Purchase]:
        """See `Cache.claim`.

        Raises:
            PlanRefused: somebody left a purchase open that another account may have paid for.
        """
        seen = self.look(connection, held, is_alive)
        taken: list[Purchase] = []
        beyond: set[bytes] = set()
        for opened in seen.left_open:
            if not self._may_ask(len(opened.sample_keys)):
                beyond.update(opened.sample_keys)
            elif len(taken) < count:
                taken.append(_adopt(connection, opened, buyer))
                self._ask(len(opened.sample_keys))
        self._todo.extend(self._elsewhere)
        self._elsewhere = []
        begun = seen.begun - beyond
        while len(taken) < count and (keys := self._next(held, begun, beyond)):
            taken.append(new_purchase(connection, self._order_id, keys, payer=self._payer, buyer_id=buyer.id, now=now))
            self._ask(len(keys))
        self._mine.update(purchase.id for purchase in taken)
        return taken

    def leave_alone(self, purchase: Purchase) -> None:
        """Neither repeat this purchase nor buy its samples otherwise: it was charged, and its answer is lost."""
        self.uncertain.update(purchase.sample_keys)

    def _may_ask(self, samples: int) -> bool:
        return self._calls_left is None or samples <= self._calls_left

    def _ask(self, samples: int) -> None:
        if self._calls_left is not None:
            self._calls_left -= samples

    def look(self, connection: Connection, held: Held, is_alive: IsAlive) -> Seen:
        """What others began of what is wanted, and writes nothing.

        Args:
            connection: to the cache.
            held: the samples that are held, of each kind.
            is_alive: whether the process with this id still buys.

        Raises:
            PlanRefused: somebody left a purchase open that another account may have paid for.
        """
        begun: set[bytes] = set()
        elsewhere: set[bytes] = set()
        asked: set[tuple[bytes, str]] = set()
        left_open: list[Purchase] = []
        opened = open_purchases(connection, self._teacher_id)
        # Where two bring the same, the one that this account may have paid for is repeated.
        for purchase in sorted(opened, key=lambda purchase: purchase.payer != self._payer):
            asked.update((key, kind) for key in purchase.sample_keys for kind in purchase.kinds)
            brings = self.brought_by(purchase, held) - begun - self.uncertain
            if not brings:
                continue
            begun |= brings
            if purchase.id in self._mine:
                continue
            if is_alive(purchase.buyer_id):
                elsewhere |= brings
            elif not self._repeats_are_free:
                self.uncertain |= brings
            elif purchase.payer != self._payer:
                raise PlanRefused(OTHER_PAYER)
            else:
                left_open.append(purchase)
        return Seen(tuple(left_open), begun, elsewhere, asked)

    def brought_by(self, purchase: Purchase, held: Held) -> set[bytes]:
        """The wanted samples that lack nothing when this purchase is finished.

        For the others it is not worth repeating: what they lack besides is bought with a call that brings everything.
        """
        others = [rows for kind, rows in zip(self._kinds, held, strict=True) if kind not in purchase.kinds]
        brought = [rows for kind, rows in zip(self._kinds, held, strict=True) if kind in purchase.kinds]
        return {
            key
            for key in purchase.sample_keys
            if key in self._wanted and all(key in rows for rows in others) and not all(key in rows for rows in brought)
        }

    def _next(self, held: Held, begun: Container[bytes], beyond: Container[bytes]) -> list[bytes]:
        keys: list[bytes] = []
        left: list[bytes] = []
        while self._todo and len(keys) < self._request_size:
            key = self._todo.popleft()
            if key in self.uncertain or all(key in rows for rows in held):
                continue
            if key in begun:
                self._elsewhere.append(key)
            elif key in beyond or not self._may_ask(len(keys) + 1):
                left.append(key)
            else:
                keys.append(key)
        self.held_back = len(left)
        self._todo.extendleft(reversed(left))
        return keys


def open_purchases(connection: Connection, teacher_id: str) -> list[Purchase]:
    """A teacher's purchases whose end is not known, in the order in which they were begun."""
    rows = connection.execute(
        select(schema.purchases, schema.streams.c.output_kind)
        .join(schema.streams)
        .where(schema.is_open, schema.streams.c.teacher_id == teacher_id)
        .order_by(schema.purchases.c.id)
    )
    return [
        Purchase(
            id=row.id,
            idempotency_key=row.idempotency_key,
            payer=row.payer,
            sample_keys=split_keys(row.sample_keys),
            kinds=split_kinds(row.output_kind),
            buyer_id=row.buyer_id,
        )
        for row in rows
    ]


def answered_by_others(connection: Connection, teacher_id: str) -> dict[bytes, str]:
    """The samples that this teacher was asked about and another answered, and who that was."""
    version = schema.purchases.c.model_version
    rows = connection.execute(
        select(schema.purchases.c.sample_keys, version)
        .join(schema.streams)
        .where(schema.streams.c.teacher_id == teacher_id, schema.purchases.c.status == "done", version != teacher_id)
    )
    return {key: row.model_version for row in rows for key in split_keys(row.sample_keys)}


def new_purchase(
    connection: Connection, order_id: int, sample_keys: Sequence[bytes], *, payer: str, buyer_id: str | None, now: float
) -> Purchase:
    """Write down a purchase before its request leaves."""
    idempotency_key = secrets.token_hex(16)
    added = connection.execute(
        insert(schema.purchases).values(
            stream_id=order_id,
            idempotency_key=idempotency_key,
            payer=payer,
            sample_keys=b"".join(sample_keys),
            status="open",
            created_at=now,
            buyer_id=buyer_id,
        )
    )
    kinds = connection.scalar(select(schema.streams.c.output_kind).where(schema.streams.c.id == order_id))
    return Purchase(new_id(added), idempotency_key, payer, tuple(sample_keys), split_kinds(str(kinds)), buyer_id)


def new_id(added: CursorResult[Any]) -> int:
    """The number of the one row that was inserted."""
    return int(added.inserted_primary_key.id)  # type: ignore[union-attr]  # one row was inserted


def _adopt(connection: Connection, opened: Purchase, buyer: ProcessLock) -> Purchase:
    here = schema.purchases.c.id == opened.id
    connection.execute(update(schema.purchases).where(here).values(buyer_id=buyer.id))
    return replace(opened, buyer_id=buyer.id, begun_earlier=True)
