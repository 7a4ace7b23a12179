"""A PostgreSQL server whose default isolation is stricter than ours: writers still wait for each other, and succeed."""

from collections.abc import Iterator
from threading import Barrier, Thread

import pytest
from sqlalchemy import make_url

from distill_worker.cache import Cache
from distill_worker.cache.purchases import new_purchase
from teacher_service.ledger.ledger import Ledger, Reservation
from tests.endurance import HANG_SECONDS
from tests.postgresql import PostgresServer
from tests.teacher_service.ledger_file import open_books, query

RESERVATIONS = 300
PURCHASES = 100


@pytest.fixture(params=["repeatable read", "serializable"])
def strict_database(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database with this default isolation."""
    with postgres_server.database() as url:
        name = make_url(url).database
        postgres_server.say(f"ALTER DATABASE {name} SET default_transaction_isolation = '{request.param}'")
        yield url


def test_two_services_hold_every_reservation_on_an_ample_key(strict_database: str) -> None:
    """A writer that waits for its turn must see what was committed before its turn."""
    held: list[int] = []
    errors: list[BaseException] = []
    start = Barrier(2)

    def reserve(ledger: Ledger, key: str) -> None:
        start.wait(HANG_SECONDS)
        for _ in range(RESERVATIONS // 2):
            try:
                reservation = ledger.reserve(query(key)).result(HANG_SECONDS)
                assert isinstance(reservation, Reservation)
                held.append(reservation.query_id)
            except Exception as error:
                errors.append(error)

    with open_books(strict_database) as first, open_books(strict_database) as second:
        key = first.key(10 * RESERVATIONS)
        threads = [Thread(target=reserve, args=(books.ledger, key)) for books in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(set(held)) == RESERVATIONS
        assert first.counts(key) == (0, RESERVATIONS)


def test_two_workers_write_every_purchase(strict_database: str) -> None:
    errors: list[BaseException] = []
    start = Barrier(2)

    def buy() -> None:
        try:
            with Cache(strict_database) as cache:
                stream_id = cache.stream("teacher", "logits")
                start.wait(HANG_SECONDS)
                for _ in range(PURCHASES // 2):
                    with cache.writing() as connection:
                        new_purchase(connection, stream_id, [bytes(32)], payer="p", buyer_id=None, now=0.0)
        except Exception as error:
            errors.append(error)

    with Cache(strict_database) as cache:
        cache.stream("teacher", "logits")
        threads = [Thread(target=buy) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(cache.open_purchases("teacher")) == PURCHASES
