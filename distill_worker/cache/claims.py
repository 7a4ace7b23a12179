"""Claims: which samples a worker buys, where several workers want the same ones.

Invariant: while an open purchase would bring all missing outputs of a sample, no second purchase holds that sample.
An answer of the same source that another worker keeps meanwhile is read under this worker's settings before its samples
are for sale. A purchase that is given up stays open until all its samples are in other purchases or cached.
"""

from collections import deque
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from distill_worker.cache.purchases import Purchase, new_purchase, open_purchases, take_over, void_purchase
from distill_worker.cache.raw_answers import kept_answers, unread_purchases
from distill_worker.errors import PlanRefused
from shared.durable.process_lock import ProcessLock

OTHER_PAYER = (
    "some of these samples are in an open purchase of another API key, and may have been paid for with it. Run once "
    "with that API key to finish the purchase, or `distill-worker fetch --abandon other-keys` to buy them again with "
    "this one"
)

Cached = Sequence[Container[bytes]]
"""The cached samples of each wanted kind."""
IsAlive = Callable[[str | None], bool]
"""Whether the buyer with this id still holds its lease."""


@dataclass(frozen=True)
class Pending:
    """The wanted samples in open purchases."""

    orphaned: tuple[Purchase, ...]
    """Purchases whose buyer has ended: they can be repeated."""
    samples: set[bytes]
    """Samples in any open purchase that would satisfy them: orphaned, elsewhere, own or uncertain; and unread ones."""
    elsewhere: set[bytes]
    """Samples that another living worker is buying, or has bought under other settings and that must be read first."""
    requested: set[tuple[bytes, str]]
    """Samples and kinds in any open purchase of the teacher's outputs."""
    given_up: tuple[Purchase, ...]
    """Purchases of wanted samples that are given up: they do not keep these samples from being bought."""


class Claims:
    """The outputs that one process wants of one teacher, and has not begun to buy."""

    def __init__(
        self,
        teacher_id: str,
        order_id: int,
        streams: Sequence[tuple[str, int]],
        *,
        payer: str,
        former_payers: Collection[str] = (),
        wanted: Sequence[bytes],
        request_size: int,
        first_request_size: int | None = None,
        most_calls: int | None = None,
        repeats_are_free: bool = True,
        source: str | None = None,
        given_up: Collection[int] = (),
        answers_read: int = 0,
    ) -> None:
        """Want some samples.

        Args:
            teacher_id: the teacher of the outputs.
            order_id: the stream of purchases of all these kinds at once; see `Cache.order`.
            streams: each kind of output, and the id of its stream.
            payer: the account that pays.
            former_payers: other names of this account, under which earlier purchases may be recorded.
            wanted: distinct sample keys, in the order in which they are bought.
            request_size: samples per purchase.
            first_request_size: samples of the first new purchase, if it is smaller.
            most_calls: the most samples to request, new or repeated; no limit if None.
            repeats_are_free: whether the teacher charges nothing for a repeated request, so that orphaned purchases
                are repeated.
            source: the teacher apart from the settings by which its answers are read, if these are settings of its
                outputs; see `raw_answers.kept_answers`.
            given_up: ids of purchases whose samples are bought anew, unless another worker took one over meanwhile.
            answers_read: the id of the last kept answer of the source that was read under the present settings.
        """
        self.stream_ids = [stream_id for _, stream_id in streams]
        self.uncertain: set[bytes] = set()
        """Samples that may have been charged, and that a repetition may charge again: they are left alone."""
        self.unread: set[bytes] = set()
        """Samples of answers that were paid and cannot be read: they are not bought again."""
        self.to_read: set[bytes] = set()
        """Samples of answers after `answers_read`, as of the last claim: they are not for sale until `mark_read`."""
        self.answers_read = answers_read
        """The id of the last kept answer that was read under the present settings, or that brings no wanted output."""
        self.over_limit = 0
        """Samples that no other worker is buying, but that exceed `most_calls`, as of the last claim."""
        self._calls_left = most_calls
        self._kinds = [kind for kind, _ in streams]
        self._teacher_id = teacher_id
        self._order_id = order_id
        self._payer = payer
        self._own_payers = {payer, *former_payers}
        self._request_size = request_size
        self._next_size = first_request_size or request_size
        self._repeats_are_free = repeats_are_free
        self._source = source
        self._given_up = frozenset(given_up)
        self._wanted = frozenset(wanted)
        self._todo = deque(wanted)
        self._elsewhere: list[bytes] = []
        self._own_ids: set[int] = set()
        self._buyer_id: str | None = None
        self._claimed: set[bytes] = set()
        """Samples in purchases of this process."""
        self._replaced: set[bytes] = set()
        """Samples of purchases that were given up, and are void."""
        self._arrived: list[Purchase] = []
        """Purchases of wanted samples whose answers came after `answers_read`."""
        self._last_seen = answers_read

    @property
    def repeats_are_free(self) -> bool:
        """Whether an answer that was lost is had again for free."""
        return self._repeats_are_free

    @property
    def left(self) -> int:
        """Samples that are neither cached nor in a purchase of this process, as of the last claim."""
        return len(self._todo) + len(self._elsewhere)

    def take(
        self, connection: Connection, cached: Cached, is_alive: IsAlive, buyer: ProcessLock, count: int, *, now: float
    ) -> list[Purchase]:
        """Take over orphaned purchases, then write new ones, which replace those given up; see `Cache.claim`.

        Raises:
            PlanRefused: another account may have paid for an orphaned purchase.
        """
        self._buyer_id = buyer.id
        pending = self.pending(connection, cached, is_alive)
        taken: list[Purchase] = []
        beyond: set[bytes] = set()
        for orphan in pending.orphaned:
            if not self._is_allowed(len(orphan.sample_keys)):
                beyond.update(orphan.sample_keys)
            elif len(taken) < count:
                taken.append(take_over(connection, orphan, buyer))
                self._spend(len(orphan.sample_keys))
        self._todo.extend(self._elsewhere)
        self._elsewhere = []
        begun = pending.samples - beyond
        while len(taken) < count and (keys := self._next(cached, begun, beyond)):
            taken.append(new_purchase(connection, self._order_id, keys, payer=self._payer, buyer_id=buyer.id, now=now))
            self._spend(len(keys))
            self._next_size = self._request_size
        self._own_ids.update(purchase.id for purchase in taken)
        self._claimed.update(key for purchase in taken for key in purchase.sample_keys)
        for purchase in pending.given_up:
            self._replace(connection, purchase, cached, buyer, now=now)
        return taken

    def pending(self, connection: Connection, cached: Cached, is_alive: IsAlive) -> Pending:
        """The wanted samples in open purchases; writes nothing.

        Args:
            connection: a connection to the cache.
            cached: the cached samples of each kind.
            is_alive: whether the buyer with this id still holds its lease.

        Raises:
            PlanRefused: another account may have paid for an orphaned purchase.
        """
        samples: set[bytes] = set()
        elsewhere: set[bytes] = set()
        requested: set[tuple[bytes, str]] = set()
        orphaned: list[Purchase] = []
        given_up: list[Purchase] = []
        if self._source is not None:
            self._look_for_answers(connection, self._source, cached)
            samples |= self.to_read
            elsewhere |= self.to_read
        opened = open_purchases(connection, self._teacher_id, self._source)
        # Of two purchases that bring the same, the one that this account may have paid for is repeated.
        for purchase in sorted(opened, key=lambda purchase: not self.is_own(purchase)):
            requested.update((key, kind) for key in purchase.sample_keys for kind in purchase.kinds)
            if self._is_given_up(purchase, is_alive):
                given_up.append(purchase)
                continue
            brings = self.brought_by(purchase, cached) - samples - self.uncertain
            if not brings:
                continue
            samples |= brings
            if purchase.id in self._own_ids:
                continue
            if is_alive(purchase.buyer_id):
                elsewhere |= brings
            elif not self._repeats_are_free or not self.satisfied_by(purchase, cached):
                self.uncertain |= brings  # a repetition is charged, or brings no answer under the present settings
            elif not self.is_own(purchase):
                raise PlanRefused(OTHER_PAYER)
            else:
                orphaned.append(purchase)
        for purchase in unread_purchases(connection, self._teacher_id, self._source):
            if self._is_given_up(purchase, is_alive):
                given_up.append(purchase)
                continue
            brings = self.brought_by(purchase, cached) - samples - self.uncertain - self.unread
            samples |= brings
            if not brings or purchase.id in self._own_ids:
                continue
            if self._can_repeat(purchase) and not is_alive(purchase.buyer_id):
                orphaned.append(purchase)
            else:
                self.unread |= brings
        given_up = [purchase for purchase in given_up if not self._wanted.isdisjoint(purchase.sample_keys)]
        return Pending(tuple(orphaned), samples, elsewhere, requested, tuple(given_up))

    def is_own(self, purchase: Purchase) -> bool:
        """Whether this account began the purchase."""
        return purchase.payer in self._own_payers

    def satisfied_by(self, purchase: Purchase, cached: Cached) -> set[bytes]:
        """The wanted samples whose outputs will all be cached once this purchase is done.

        A purchase without such samples is not repeated: one new call for each sample brings all its missing outputs.
        """
        others = [rows for kind, rows in zip(self._kinds, cached, strict=True) if kind not in purchase.kinds]
        brought = [rows for kind, rows in zip(self._kinds, cached, strict=True) if kind in purchase.kinds]
        return {
            key
            for key in purchase.sample_keys
            if key in self._wanted and all(key in rows for rows in others) and not all(key in rows for rows in brought)
        }

    def brought_by(self, purchase: Purchase, cached: Cached) -> set[bytes]:
        """As `satisfied_by`; and if other settings may read all outputs from its answer, the samples that lack any."""
        if self._source is None:
            return self.satisfied_by(purchase, cached)
        wanted = self._wanted.intersection(purchase.sample_keys)
        return {key for key in wanted if not all(key in rows for rows in cached)}

    def _can_repeat(self, purchase: Purchase) -> bool:
        """Whether the same request can be sent again for free."""
        is_same = purchase.teacher_id == self._teacher_id and set(purchase.kinds) <= set(self._kinds)
        return self._repeats_are_free and is_same and self.is_own(purchase)

    def replaces(self, purchase: Purchase) -> bool:
        """Whether this purchase has samples of another one that may have been charged, and was given up."""
        return not self._replaced.isdisjoint(purchase.sample_keys)

    def _is_given_up(self, purchase: Purchase, is_alive: IsAlive) -> bool:
        is_own = self._buyer_id is not None and purchase.buyer_id == self._buyer_id
        return purchase.id in self._given_up and (is_own or not is_alive(purchase.buyer_id))

    def _replace(
        self, connection: Connection, given_up: Purchase, cached: Cached, buyer: ProcessLock, *, now: float
    ) -> None:
        """Make a purchase that is given up void, once its samples are bought anew; until then, no other repeats it."""
        if given_up.buyer_id != buyer.id:
            given_up = take_over(connection, given_up, buyer)
        if all(key in self._claimed or all(key in rows for rows in cached) for key in given_up.sample_keys):
            void_purchase(connection, given_up, now=now)
            self._replaced.update(given_up.sample_keys)

    def mark_uncertain(self, purchase: Purchase) -> None:
        """Leave the samples of a purchase alone: it was charged, and its answer is lost."""
        self.uncertain.update(purchase.sample_keys)

    def mark_unread(self, samples: Collection[bytes]) -> None:
        """Leave samples alone: they were paid, and cannot be read under the present settings."""
        self.unread.update(samples)

    def mark_read(self) -> None:
        """Note that the answers of `to_read` were read, or their samples marked as unread."""
        self._arrived.clear()
        self.answers_read = self._last_seen

    def _look_for_answers(self, connection: Connection, source: str, cached: Cached) -> None:
        """Note the answers that other workers kept since the last look, and what they bring."""
        for kept in kept_answers(connection, self._teacher_id, source, after=self._last_seen):
            self._last_seen = max(self._last_seen, kept.id)
            if kept.purchase.id not in self._own_ids:
                self._arrived.append(kept.purchase)
        brought = [(purchase, self.brought_by(purchase, cached) - self.unread) for purchase in self._arrived]
        self._arrived = [purchase for purchase, samples in brought if samples]
        self.to_read = set().union(*(samples for _, samples in brought))
        if not self._arrived:
            self.answers_read = self._last_seen

    def _is_allowed(self, samples: int) -> bool:
        return self._calls_left is None or samples <= self._calls_left

    def _spend(self, samples: int) -> None:
        if self._calls_left is not None:
            self._calls_left -= samples

    def _next(self, cached: Cached, begun: Container[bytes], beyond: Container[bytes]) -> list[bytes]:
        """The sample keys of the next new purchase."""
        keys: list[bytes] = []
        left: list[bytes] = []
        while self._todo and len(keys) < self._next_size:
            key = self._todo.popleft()
            if key in self.uncertain or key in self.unread or all(key in rows for rows in cached):
                continue
            if key in begun:
                self._elsewhere.append(key)
            elif key in beyond or not self._is_allowed(len(keys) + 1):
                left.append(key)
            else:
                keys.append(key)
        self.over_limit = len(left)
        self._todo.extendleft(reversed(left))
        return keys
