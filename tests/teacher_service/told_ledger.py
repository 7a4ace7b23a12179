"""A ledger to which everything has happened that can happen to a query."""

from pathlib import Path

import psycopg

from shared.oip import Body
from teacher_service.ledger.ledger import Ledger, Reservation
from tests.teacher_service.ledger_file import WAIT_SECONDS, open_books, query, rows

BINARY = Body(b'{"outputs":[]}\x00\xff', 14)
JSON = Body(b'{"outputs":[]}', None)

STATES = {"settled": 1, "expired": 3, "released": 4, "held": 7}
"""A query of each kind, each under an Idempotency-Key."""
EVENTS = 12


def tell(place: Path | str) -> None:
    """Queries 1 to 7 of two keys on two days: settled, expired, released, held."""
    with open_books(place) as books:
        first, second = (books.keys.create(name, quota).id for name, quota in (("first", 100), ("second", 50)))
        books.keys.grant(first, 10, "more")
        ledger = Ledger(books.engine, books.commits, books.instance, books.clock, retention_seconds=3600.0)

        def hold(key: str, samples: int, name: str | None) -> Reservation:
            books.clock.now += 1.25
            held = ledger.reserve(query(key, samples, idempotency_key=name)).result(WAIT_SECONDS)
            assert isinstance(held, Reservation)
            return held

        def settle(held: Reservation, answer: Body) -> None:
            books.clock.now += 0.5
            ledger.settle(held, answer).result(WAIT_SECONDS)

        forever = Ledger(books.engine, books.commits, books.instance, books.clock, retention_seconds=float("inf"))
        kept = hold(first, 3, "kept")
        books.clock.now += 0.5
        forever.settle(kept, BINARY).result(WAIT_SECONDS)
        settle(hold(second, 2, None), JSON)
        settle(hold(first, 4, "expired"), JSON)
        ledger.release(hold(second, 5, "again")).result(WAIT_SECONDS)
        books.clock.now += 86_400
        assert ledger.forget_answers().result(WAIT_SECONDS) == 1
        settle(hold(second, 6, "again"), JSON)
        hold(first, 7, None)
        hold(second, 8, "open")


def meddle(place: Path | str, sql: str, *parameters: object) -> None:
    """What somebody does to a ledger who owns its file or its server: foreign keys do not stop them there."""
    if isinstance(place, Path):
        rows(place, sql, *parameters)
        return
    with psycopg.connect(place, options="-c session_replication_role=replica") as session:
        session.execute(sql.replace("?", "%s").encode(), parameters)
