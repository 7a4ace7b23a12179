"""The ledger against a simple model of it: what is used, reserved and remaining, whatever dies in between."""

import shutil
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.durable.process_lock import open_file_lock
from shared.oip import Body
from teacher_service.errors.service_errors import (
    IdempotencyMismatch,
    LedgerUnavailable,
    QuotaExceeded,
    RequestInProgress,
    ServiceError,
    Unauthorized,
)
from teacher_service.ledger.ledger import Ledger, Reservation, Settled
from tests.endurance import rounds
from tests.teacher_service.ledger_file import WAIT_SECONDS, Commits, counts, open_books, query


@dataclass
class _Entry:
    """One admitted query, as the model remembers it."""

    reservation: Reservation
    idempotency_key: str | None
    payload: str
    status: str = "held"
    answer: Body | None = None


class LedgerMachine(RuleBasedStateMachine):
    """The ledger and a plain list of entries are told the same; they must agree on every outcome and every number."""

    quotas = (12, 5)

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(prefix="ledger-"))
        self.path = self.folder / "ledger.sqlite"
        self.process = ExitStack()
        self.start()
        self.keys = [self.books.key(quota) for quota in self.quotas]
        self.revoked: set[int] = set()
        self.entries: list[list[_Entry]] = [[], []]

    def start(self) -> None:
        """A process starts on the file."""
        self.books = self.process.enter_context(open_books(self.path))
        self.commits = Commits(self.books.engine)

    def teardown(self) -> None:
        """Close the file, and forget it."""
        self.process.close()
        shutil.rmtree(self.folder)

    def total(self, key: int, status: str) -> int:
        """Samples of a key's entries in one status."""
        return sum(entry.reservation.query.samples for entry in self.entries[key] if entry.status == status)

    def expected(
        self, key: int, samples: int, idempotency_key: str | None, payload: str
    ) -> type[ServiceError] | _Entry | None:
        """What a reservation must meet: a refusal, an entry to replay, or nothing in its way."""
        if key in self.revoked:
            return Unauthorized
        known = [
            entry
            for entry in self.entries[key]
            if idempotency_key is not None and entry.idempotency_key == idempotency_key and entry.status != "released"
        ]
        if known:
            if known[0].payload != payload:
                return IdempotencyMismatch
            return RequestInProgress if known[0].status == "held" else known[0]
        if self.total(key, "settled") + self.total(key, "held") + samples > self.quotas[key]:
            return QuotaExceeded
        return None

    @rule(
        key=st.integers(0, 1),
        samples=st.integers(1, 6),
        idempotency_key=st.sampled_from([None, "i", "j"]),
        payload=st.sampled_from(["p", "p", "q"]),
    )
    def reserve(self, key: int, samples: int, idempotency_key: str | None, payload: str) -> None:
        """Admitted, replayed or refused, as the model says."""
        expected = self.expected(key, samples, idempotency_key, payload)
        asked = query(self.keys[key], samples, idempotency_key=idempotency_key, payload=payload)
        future = self.books.ledger.reserve(asked)
        if isinstance(expected, type):
            assert type(future.exception(WAIT_SECONDS)) is expected
            return
        outcome = future.result(WAIT_SECONDS)
        if isinstance(expected, _Entry):
            assert isinstance(outcome, Settled)
            assert (outcome.answer, outcome.replayed) == (expected.answer, True)
            return
        assert isinstance(outcome, Reservation)
        self.entries[key].append(_Entry(outcome, idempotency_key, payload))

    @precondition(lambda self: any(self.entries))
    @rule(data=st.data(), content=st.binary(max_size=5), header_length=st.none() | st.integers(0, 5))
    def settle(self, data: st.DataObject, content: bytes, header_length: int | None) -> None:
        """Charged once if still held; refused if not."""
        entry = self.draw_entry(data)
        answer = Body(content, header_length)
        future = self.books.ledger.settle(entry.reservation, answer)
        if entry.status == "held":
            assert future.result(WAIT_SECONDS).answer == answer
            entry.status, entry.answer = "settled", answer
        else:
            assert type(future.exception(WAIT_SECONDS)) is LedgerUnavailable

    @precondition(lambda self: any(self.entries))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Given back if still held; else nothing happens."""
        entry = self.draw_entry(data)
        self.books.ledger.release(entry.reservation).result(WAIT_SECONDS)
        if entry.status == "held":
            entry.status = "released"

    @rule(key=st.integers(0, 1))
    def revoke(self, key: int) -> None:
        """No new reservation; what is held may still be settled."""
        assert self.books.keys.revoke(self.keys[key])
        self.revoked.add(key)

    @precondition(lambda self: any(self.entries))
    @rule(data=st.data(), operation=st.sampled_from(["settle", "release", "reserve"]))
    def fail_to_commit(self, data: st.DataObject, operation: str) -> None:
        """The disk is full: whatever was tried did not happen."""
        reservation = self.draw_entry(data).reservation
        future: Future[Settled] | Future[Settled | None] | Future[Reservation | Settled]
        self.commits.failing = 1
        if operation == "settle":
            future = self.books.ledger.settle(reservation, Body(b"{}", None))
        elif operation == "release":
            future = self.books.ledger.release(reservation)
        else:
            future = self.books.ledger.reserve(query(reservation.query.key_id, 1))
        assert type(future.exception(WAIT_SECONDS)) is LedgerUnavailable

    @precondition(lambda self: any(self.entries))
    @rule(data=st.data(), operation=st.sampled_from(["settle", "release", "reserve"]))
    def lose_an_acknowledgement(self, data: st.DataObject, operation: str) -> None:
        """The connection breaks after the commit: what ends a hold has happened; a new hold is released."""
        entry = self.draw_entry(data)
        self.commits.unacknowledged = 1
        if operation == "settle":
            answer = Body(b"{}", None)
            assert self.books.ledger.settle(entry.reservation, answer).exception(WAIT_SECONDS) is not None
            if entry.status == "held":
                entry.status, entry.answer = "settled", answer
                charged = self.books.ledger.release(entry.reservation, answer).result(WAIT_SECONDS)
                assert charged is not None
                assert charged.answer == answer
        elif operation == "release":
            assert self.books.ledger.release(entry.reservation).exception(WAIT_SECONDS) is not None
            if entry.status == "held":
                entry.status = "released"
        else:
            asked = query(entry.reservation.query.key_id, 1)
            assert self.books.ledger.reserve(asked).exception(WAIT_SECONDS) is not None
        self.books.commits.submit(lambda _: None).result(WAIT_SECONDS)
        assert self.commits.unacknowledged == 0

    @rule()
    def die_and_recover(self) -> None:
        """The process ends with whatever it holds; the next one releases exactly that."""
        self.process.close()
        self.start()
        held = self.total(0, "held") + self.total(1, "held")
        assert self.books.ledger.recover() == held
        for entry in [*self.entries[0], *self.entries[1]]:
            if entry.status == "held":
                entry.status = "released"

    @rule()
    def start_a_peer(self) -> None:
        """A replica that starts beside a living process takes nothing from it."""
        with open_file_lock(Path(f"{self.path}.instances")) as peer:
            assert Ledger(self.books.engine, self.books.commits, peer, self.books.clock).recover() == 0

    @invariant()
    def numbers_agree(self) -> None:
        """In the file, for every key, at every moment."""
        for index, key in enumerate(self.keys):
            used, reserved = self.total(index, "settled"), self.total(index, "held")
            assert counts(self.path, key) == (used, reserved)
            assert used + reserved <= self.quotas[index]
        shown = {quota.key_id: quota.remaining for quota, _ in self.books.keys.all()}
        assert shown == {
            key: self.quotas[index] - self.total(index, "settled") - self.total(index, "held")
            for index, key in enumerate(self.keys)
        }

    def draw_entry(self, data: st.DataObject) -> _Entry:
        """Any entry, finished ones and those of dead processes included."""
        return data.draw(st.sampled_from([*self.entries[0], *self.entries[1]]))


TestLedgerAgainstModel = LedgerMachine.TestCase
TestLedgerAgainstModel.settings = settings(max_examples=rounds(8, 30), stateful_step_count=30)
