"""Pages of the log: everything once, in order, at a cost that does not grow with the log."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select

from shared.durable.engine import reading
from shared.oip import Body
from teacher_service.database.engine import follow_indexes
from teacher_service.errors.service_errors import InvalidRequest, LedgerUnavailable
from teacher_service.ledger.ledger import Reservation
from teacher_service.query_log.history import Day, History, QueryFilter, statement
from tests.teacher_service.ledger_file import WAIT_SECONDS, Books, open_books, query, rows, table_gone

ANSWER = Body(b"{}", None)
LONG = 20_000


@pytest.fixture
def either(ledger_place: Path | str) -> Iterator[Books]:
    """An empty ledger of each kind of database."""
    with open_books(ledger_place) as opened:
        yield opened


def _history(books: Books) -> History:
    return History(books.engine, books.clock)


def _pages(history: History, wanted: QueryFilter, limit: int) -> list[int]:
    """The ids of all that is wanted, page by page."""
    found: list[int] = []
    cursor = None
    while True:
        page = history.page(wanted, limit, cursor)
        found += [row.id for row in page.queries]
        assert len(page.queries) == limit or page.next is None
        if page.next is None:
            return found
        cursor = page.next


def _hold(books: Books, key: str, name: str | None = None) -> Reservation:
    held = books.ledger.reserve(query(key, idempotency_key=name)).result(WAIT_SECONDS)
    assert isinstance(held, Reservation)
    return held


def _write_log(books: Books, keys: tuple[str, str], first: int, last: int, status: str) -> None:
    """Queries of two keys in turn, with such numbers `i`; `status` is a SQL expression of it."""
    rows(
        books.path,
        "WITH RECURSIVE n(i) AS (SELECT CAST(? AS INTEGER) UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO queries (id, request_id, key_id, model_name, model_version, samples, payload_sha256, status, "
        "instance_id, created_at) "
        f"SELECT i, 'r', CASE WHEN i / 2 * 2 = i THEN '{keys[0]}' ELSE '{keys[1]}' END, 'teacher', 'v', 1, 'p', "
        f"{status}, 'nobody', 1000.0 + i / 3 FROM n",
        first,
        last,
    )


def test_every_filter_finds_what_is_there_once_and_in_order(either: Books) -> None:
    """Against a filter in Python: several queries of one moment, clocks that disagreed, pages of every size."""
    keys = [either.key(100) for _ in range(3)]
    for index in range(40):
        if index % 3 == 0:
            either.clock.now += (-2.5, 1.0, 7.0)[index % 7 % 3]
        held = _hold(either, keys[index % 2])
        if index % 5 < 3:
            either.ledger.settle(held, ANSWER).result(WAIT_SECONDS)
        elif index % 5 == 3:
            either.ledger.release(held).result(WAIT_SECONDS)
    stored = rows(either.path, "SELECT id, key_id, status, created_at FROM queries")
    times = sorted({at for *_, at in stored})
    bounds = [None, times[0], times[len(times) // 2], times[-1] + 1]
    history = _history(either)
    for key, status, since, until in product([None, *keys], [None, "held", "settled", "released"], bounds, bounds):
        expected = sorted(
            (
                (at, query_id)
                for query_id, asked_by, stands, at in stored
                if key in (None, asked_by)
                and status in (None, stands)
                and (since is None or at >= since)
                and (until is None or at < until)
            ),
            reverse=True,
        )
        wanted = QueryFilter(key, status, since, until)  # type: ignore[arg-type]
        for limit in (1, 3, 1000):
            assert _pages(history, wanted, limit) == [query_id for _, query_id in expected]


def test_pages_lose_and_repeat_nothing_while_queries_come_and_end(either: Books) -> None:
    """A query that ends between two pages changes its place in the index, not in the order."""
    key = either.key(100)
    held = [_hold(either, key) for _ in range(12)]
    history, cursor, found = _history(either), None, list[int]()
    for turn in range(6):
        page = history.page(QueryFilter(key), 2, cursor)
        found += [row.id for row in page.queries]
        cursor = page.next
        either.clock.now += 1
        _hold(either, key)
        either.ledger.settle(held[turn], ANSWER).result(WAIT_SECONDS)
        either.ledger.release(held[-1 - turn]).result(WAIT_SECONDS)
    assert (found, cursor) == (list(range(12, 0, -1)), None)


def test_cursor_of_another_question_is_kept_to_what_is_asked_now(either: Books) -> None:
    """Whether it lies before the end of the window or after it."""
    key = either.key(100)
    for either.clock.now in (10.0, 20.0, 30.0, 40.0):
        _hold(either, key)
    history = _history(either)
    for cursor, until, ids in ((4, 25.0, [2, 1]), (2, 35.0, [1]), (3, 30.0, [2, 1]), (3, 30.5, [2, 1])):
        assert [row.id for row in history.page(QueryFilter(key, until=until), 10, cursor).queries] == ids


def test_row_tells_the_facts_of_the_log(either: Books) -> None:
    key = either.key(10)
    either.clock.now = 50.25
    held = _hold(either, key, "mine")
    either.clock.now = 51.5
    either.ledger.settle(held, ANSWER).result(WAIT_SECONDS)
    [row] = _history(either).page(QueryFilter(key), 10).queries
    facts = row._asdict()
    assert facts == dict(zip(facts, rows(either.path, f"SELECT {', '.join(facts)} FROM queries")[0], strict=True))
    assert (facts["status"], facts["created_at"], facts["finished_at"]) == ("settled", 50.25, 51.5)
    assert (facts["idempotency_key"], facts["samples"]) == ("mine", 1)


def test_idempotency_key_finds_the_query_that_counts(either: Books) -> None:
    """Not the attempts that were released; not another key's."""
    key, other = either.key(10), either.key(10)
    either.ledger.release(_hold(either, key, "word")).result(WAIT_SECONDS)
    history = _history(either)
    assert _pages(history, QueryFilter(key, idempotency_key="word"), 5) == []
    _hold(either, other, "word")
    counts = _hold(either, key, "word")
    assert _pages(history, QueryFilter(key, idempotency_key="word"), 5) == [counts.query_id]
    either.ledger.settle(counts, ANSWER).result(WAIT_SECONDS)
    assert _pages(history, QueryFilter(key, "settled", idempotency_key="word"), 5) == [counts.query_id]
    for nothing in (
        QueryFilter(key, "held", idempotency_key="word"),
        QueryFilter(key, until=1.0, idempotency_key="word"),
    ):
        assert _pages(history, nothing, 5) == []


def test_cursor_that_no_page_gave_is_refused(either: Books) -> None:
    for cursor in (5, 2**63 - 1):
        with pytest.raises(InvalidRequest, match=f"cursor: expected the `next` .* got {cursor}"):
            _history(either).page(QueryFilter(), 10, cursor)


def test_failing_database_is_told(either: Books) -> None:
    history = _history(either)
    with table_gone(either.path, "queries"), pytest.raises(LedgerUnavailable):
        history.page(QueryFilter(), 10)
    with table_gone(either.path, "daily_usage"), pytest.raises(LedgerUnavailable):
        history.usage(None, 0, 10)


def test_usage_sums_the_days_of_one_key_or_of_all(either: Books) -> None:
    keys = [either.key(100), either.key(100)]
    for day, key, samples in ((3, 0, 2), (3, 1, 5), (4, 0, 1), (4, 0, 1), (6, 1, 9)):
        either.clock.now = day * 86_400.0 + 86_399.5
        held = either.ledger.reserve(query(keys[key], samples)).result(WAIT_SECONDS)
        assert isinstance(held, Reservation)
        either.ledger.settle(held, ANSWER).result(WAIT_SECONDS)
    history = _history(either)
    assert history.usage(keys[0], 0, 10) == [Day(3, 1, 2), Day(4, 2, 2)]
    assert history.usage(None, 0, 10) == [Day(3, 2, 7), Day(4, 2, 2), Day(6, 1, 9)]
    assert history.usage(None, 4, 6) == [Day(4, 2, 2)]


@pytest.mark.parametrize("common", ["settled", "released", "held"])
@pytest.mark.parametrize("statistics", ["of now", "of long ago"])
def test_page_of_a_long_log_looks_at_no_more_than_it_tells(either: Books, common: str, statistics: str) -> None:
    """Whatever is rare and wherever it lies. The databases themselves say how much they looked at."""
    rare = {"settled": "released", "released": "settled", "held": "settled"}[common]
    keys = (either.key(5), either.key(5))
    _write_log(either, keys, 1, 100, f"'{rare}'")
    rows(either.path, "ANALYZE")
    _write_log(either, keys, 101, LONG, f"CASE WHEN i = {LONG // 2} THEN '{rare}' ELSE '{common}' END")
    asking: list[str | None] = [None, keys[0]]
    if statistics == "of now":
        rows(either.path, "ANALYZE")
        asking.append("nobody")  # with statistics of long ago, PostgreSQL may look for nobody's queries among all
    early, middle = 1000.0 + 35, 1000.0 + LONG // 6
    late, deep = ((1000.0 + number // 3, number) for number in (LONG - 5, LONG // 10))
    limit = 5
    for key, status, since, until, start in product(
        asking, (None, rare, common), (None, middle), (None, early, middle), (None, late, deep)
    ):
        wanted = QueryFilter(key, status, since, until)  # type: ignore[arg-type]
        looked_at = _looked_at(either, statement(wanted, limit, start))
        assert looked_at <= 20 * limit, (wanted, start, looked_at)


def _looked_at(books: Books, asked: Select[Any]) -> float:
    """Rows that the database read, filtered out or sorted; on SQLite, hundreds of steps of its machine."""
    sql = str(asked.compile(books.engine, compile_kwargs={"literal_binds": True}))
    if isinstance(books.path, str):
        with reading(books.engine) as connection:
            follow_indexes(connection)
            plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}").scalar_one()
        return _rows_of(plan[0]["Plan"])
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with closing(sqlite3.connect(books.path)) as stranger:
        stranger.set_progress_handler(count, 100)
        stranger.execute(sql).fetchall()
    return steps


def _rows_of(plan: dict[str, Any]) -> float:
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    below = (_rows_of(child) for child in plan.get("Plans", []))
    return float(own * plan["Actual Loops"] + sum(below))
