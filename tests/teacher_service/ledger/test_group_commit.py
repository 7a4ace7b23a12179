"""Group commit: shared commits, separate fates, and nothing is promised before it is on disk."""

from collections.abc import Callable, Sequence
from threading import Event

import pytest
from sqlalchemy import Connection, text

from teacher_service.errors.service_errors import LedgerUnavailable, NotFound
from teacher_service.ledger.group_commit import GroupCommit
from tests.teacher_service.ledger_file import WAIT_SECONDS, Books, Commits, rows, writer_busy

_Operation = Callable[[Connection], str]


def _insert(name: str, error: Exception | None = None) -> _Operation:
    def operation(connection: Connection) -> str:
        connection.execute(
            text("INSERT INTO api_keys (id, name, secret_sha256, quota, created_at) VALUES (:name, :name, 's', 1, 0)"),
            {"name": name},
        )
        if error is not None:
            raise error
        return name

    return operation


def _names(books: Books) -> list[str]:
    return [name for (name,) in rows(books.path, "SELECT name FROM api_keys ORDER BY name")]


def test_operations_submitted_together_share_a_commit(books: Books) -> None:
    commits = Commits(books.engine)
    with writer_busy(books.commits):
        futures = [books.commits.submit(_insert(f"{index:02}")) for index in range(20)]
    assert [future.result(WAIT_SECONDS) for future in futures] == [f"{index:02}" for index in range(20)]
    assert commits.count == 2, "one for the operation that kept the writer busy, one for the twenty"
    assert len(_names(books)) == 20


def test_group_is_bounded(books: Books) -> None:
    small = GroupCommit(books.engine, max_group=4)
    commits = Commits(books.engine)
    with writer_busy(small):
        futures = [small.submit(_insert(f"{index}")) for index in range(9)]
    assert [future.result(WAIT_SECONDS) for future in futures] == [f"{index}" for index in range(9)]
    assert commits.count == 1 + 3
    small.close()


def test_only_a_group_that_a_power_cut_may_undo_does_not_wait_for_the_disk(books: Books) -> None:
    """`synchronous` 2 is FULL, 1 NORMAL. One that must be on disk takes its whole group along."""

    def synchronous(connection: Connection, items: Sequence[None]) -> list[int]:
        return [connection.exec_driver_sql("PRAGMA synchronous").scalar_one() for _ in items]

    def waits(*may_be_lost: bool) -> list[int]:
        with writer_busy(books.commits):
            futures = [books.commits.submit_item(synchronous, None, may_be_lost=lost) for lost in may_be_lost]
        return [future.result(WAIT_SECONDS) for future in futures]

    assert waits(True, True) == [1, 1]
    assert waits(True, False, True) == [2, 2, 2]
    assert waits(False) == [2]


def test_lone_operation_is_committed_without_company(books: Books) -> None:
    commits = Commits(books.engine)
    for name in "ab":
        assert books.commits.submit(_insert(name)).result(WAIT_SECONDS) == name
    assert commits.count == 2


def test_refused_operation_leaves_no_trace_and_its_neighbours_alone(books: Books) -> None:
    with writer_busy(books.commits):
        futures = [
            books.commits.submit(_insert("before")),
            books.commits.submit(_insert("refused", NotFound("no"))),
            books.commits.submit(_insert("after")),
        ]
    assert futures[0].result(WAIT_SECONDS) == "before"
    with pytest.raises(NotFound, match="no"):
        futures[1].result(WAIT_SECONDS)
    assert futures[2].result(WAIT_SECONDS) == "after"
    assert _names(books) == ["after", "before"]


def test_failed_commit_fails_every_waiter_and_keeps_nothing(books: Books) -> None:
    commits = Commits(books.engine)

    def fill_the_disk(_: Connection) -> str:
        commits.failing = 1
        return ""

    with writer_busy(books.commits):
        operations = [_insert("a"), fill_the_disk, _insert("b", NotFound("refused")), _insert("c")]
        futures = [books.commits.submit(operation) for operation in operations]
    for future in futures:
        with pytest.raises(LedgerUnavailable):
            future.result(WAIT_SECONDS)
    assert _names(books) == []


def test_operation_that_the_database_cannot_do_fails_its_group(books: Books) -> None:
    """What happened to the transaction is unknown, so nobody in it is told that it went well."""
    with writer_busy(books.commits):
        futures = [
            books.commits.submit(_insert("a")),
            books.commits.submit(lambda connection: str(connection.execute(text("SELECT * FROM nowhere")))),
        ]
    for future in futures:
        with pytest.raises(LedgerUnavailable):
            future.result(WAIT_SECONDS)
    assert _names(books) == []


def test_writer_survives_a_failed_commit(books: Books) -> None:
    commits = Commits(books.engine)
    commits.failing = 1
    with pytest.raises(LedgerUnavailable):
        books.commits.submit(_insert("lost")).result(WAIT_SECONDS)
    assert books.commits.submit(_insert("kept")).result(WAIT_SECONDS) == "kept"
    assert _names(books) == ["kept"]


def _committed(connection: Connection, names: Sequence[str]) -> Sequence[str]:
    for name in names:
        _insert(name)(connection)
    return names


class _Undo:
    """Deletes the rows of a failed commit, and notes what it was given."""

    def __init__(self) -> None:
        self.given: list[list[str]] = []
        self.undone = Event()

    def __call__(self, connection: Connection, names: Sequence[str]) -> Sequence[str]:
        self.given.append(list(names))
        present = set(connection.scalars(text("SELECT name FROM api_keys")))
        connection.execute(text("DELETE FROM api_keys"))
        self.undone.set()
        return [name for name in names if name in present]


def test_commit_whose_acknowledgement_is_lost_is_undone_before_the_next_operation(books: Books) -> None:
    commits, undo = Commits(books.engine), _Undo()
    commits.unacknowledged = 1
    with pytest.raises(LedgerUnavailable, match="nothing was admitted or charged"):
        books.commits.submit_item(_committed, "a", undo=undo).result(WAIT_SECONDS)
    assert books.commits.submit_item(_committed, "a", undo=undo).result(WAIT_SECONDS) == "a"
    assert books.commits.submit(_insert("b")).result(WAIT_SECONDS) == "b"
    assert undo.given == [["a"]], "the second is acknowledged, so it stays"
    assert _names(books) == ["a", "b"]


def test_lost_commit_is_undone_though_no_operation_follows(books: Books) -> None:
    commits, undo = Commits(books.engine), _Undo()
    commits.unacknowledged = 1
    with pytest.raises(LedgerUnavailable):
        books.commits.submit_item(_committed, "a", undo=undo).result(WAIT_SECONDS)
    assert undo.undone.wait(WAIT_SECONDS)
    books.commits.submit(lambda _: None).result(WAIT_SECONDS)
    assert _names(books) == []


def test_undo_is_repeated_until_its_own_commit_is_acknowledged(books: Books) -> None:
    """Only what the database held is looked up again; what failed before the commit never is."""
    commits, undo = Commits(books.engine), _Undo()
    commits.unacknowledged = 1
    with pytest.raises(LedgerUnavailable):
        books.commits.submit_item(_committed, "a", undo=undo).result(WAIT_SECONDS)
    commits.failing = 1  # the undo, and "b" with it, are rolled back
    with pytest.raises(LedgerUnavailable):
        books.commits.submit_item(_committed, "b", undo=undo).result(WAIT_SECONDS)
    assert _names(books) == ["a"]
    with writer_busy(books.commits):
        broken = [
            books.commits.submit_item(_committed, "c", undo=undo),
            books.commits.submit(lambda connection: str(connection.execute(text("SELECT * FROM nowhere")))),
        ]
    for future in broken:
        with pytest.raises(LedgerUnavailable):
            future.result(WAIT_SECONDS)
    books.commits.submit(lambda _: None).result(WAIT_SECONDS)
    assert undo.given == [["a"], ["a", "b"]]
    assert _names(books) == []


def test_failed_commit_that_cannot_be_undone_says_that_its_outcome_is_unknown(books: Books) -> None:
    commits = Commits(books.engine)
    commits.unacknowledged = 1
    with pytest.raises(LedgerUnavailable, match="whether this was recorded is unknown"):
        books.commits.submit(_insert("a")).result(WAIT_SECONDS)
    assert _names(books) == ["a"]


def test_future_resolves_only_after_its_commit(books: Books) -> None:
    """A stranger's connection sees the row at the moment when the future is done, and not while it runs."""
    seen: list[list[str]] = []
    running, go_on = Event(), Event()

    def operation(connection: Connection) -> str:
        name = _insert("row")(connection)
        running.set()
        assert go_on.wait(WAIT_SECONDS)
        return name

    future = books.commits.submit(operation)
    future.add_done_callback(lambda _: seen.append(_names(books)))
    assert running.wait(WAIT_SECONDS)
    assert not future.done()
    assert _names(books) == []
    go_on.set()
    assert future.result(WAIT_SECONDS) == "row"
    books.commits.submit(lambda _: None).result(WAIT_SECONDS)  # behind the callback, which the writer itself runs
    assert seen == [["row"]]


def test_defect_in_an_operation_reaches_its_waiter_and_not_the_writer(books: Books) -> None:
    with pytest.raises(ZeroDivisionError):
        books.commits.submit(lambda _: 1 // 0).result(WAIT_SECONDS)
    assert books.commits.submit(_insert("later")).result(WAIT_SECONDS) == "later"


def test_abandoned_future_does_not_stop_the_writer(books: Books) -> None:
    """A caller that goes away cancels its future; everyone else must still get an answer."""
    with writer_busy(books.commits):
        abandoned = books.commits.submit(_insert("abandoned"))
        neighbour = books.commits.submit(_insert("neighbour"))
        abandoned.cancel()
    assert neighbour.result(WAIT_SECONDS) == "neighbour"
    assert books.commits.submit(_insert("later")).result(WAIT_SECONDS) == "later"


def test_close_finishes_what_was_submitted(books: Books) -> None:
    closing = GroupCommit(books.engine, max_group=3)
    with writer_busy(closing):
        futures = [closing.submit(_insert(f"{index}")) for index in range(7)]
    closing.close()
    assert [future.result(0) for future in futures] == [f"{index}" for index in range(7)]
