"""Numbers at the end of their range, clocks that jump, keys of one holder: exact, never over-admitted, no crash."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from teacher_service.database.engine import open_database
from teacher_service.policy.rate_limit import MAX_PER_MINUTE
from teacher_service.query_log.export import FACTS
from teacher_service.query_log.verify import verify
from tests.end_to_end.asking import ask, outcome
from tests.end_to_end.clocked_service import FileClock
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService
from tests.teacher_service.ledger_file import rows

LARGEST = 2**63 - 1
HOUR = 3600.0
NOW = 1_790_000_000.0
CLOCKED = "tests.end_to_end.clocked_service"


@pytest.fixture
def clock(tmp_path: Path) -> FileClock:
    """A clock of the test's own."""
    made = FileClock(tmp_path / "clock")
    made.set(NOW)
    return made


@pytest.fixture
def start_two(
    start_service: StartService, ledger_place: Path | str, clock: FileClock
) -> Callable[..., list[RunningService]]:
    """Two services on one ledger, by that clock."""

    def start(**environment: str) -> list[RunningService]:
        return [
            start_service(database=ledger_place, module=CLOCKED, CLOCK=str(clock.path), **environment) for _ in range(2)
        ]

    return start


def test_keys_of_one_holder_share_nothing_while_the_clock_jumps(
    start_two: Callable[..., list[RunningService]], clock: FileClock
) -> None:
    """Hours forwards and backwards: each key's quota is its own, each limit starts afresh, nothing is charged twice."""
    services = start_two(TEACHER_ANSWER_RETENTION_HOURS="1000")
    with services[0].keys(clock) as keys:
        first, second = (
            services[0].new_key(name, quota, holder="one", requests_per_minute=4)
            for name, quota in (("first", 9), ("second", 100))
        )
        used = {first.token: 0, second.token: 0}
        for number, hours in enumerate((0.0, 5.0, -3.0, -30.0, 24.0, 700.0, -2000.0, 0.0)):
            clock.set(NOW + hours * HOUR)
            for key in (first, second):
                expected = "answered" if used[key.token] + 2 <= keys.show(key.id).quota.limit else "quota-exceeded"
                answers = [outcome(ask(service, key.token, 2, f"i-{number}")) for service in services]
                assert answers == ([expected, "replayed"] if expected == "answered" else [expected] * 2)
                used[key.token] += 2 * (expected == "answered")
                for service in services:
                    quota = service.quota(key.token)
                    assert (quota["used"], quota["reserved"]) == (used[key.token], 0)
                    spent = 1 if expected == "answered" else 2
                    assert quota["requests_per_minute"]["remaining"] == 4 - spent
    assert used == {first.token: 8, second.token: 16}
    _assert_in_order(services[0], clock)


def test_answer_is_kept_for_as_long_as_promised_by_whatever_the_clock_says(
    start_two: Callable[..., list[RunningService]], clock: FileClock
) -> None:
    services = start_two(TEACHER_ANSWER_RETENTION_HOURS="2")
    key = services[0].new_key("patient", 2)
    assert outcome(ask(services[0], key.token, 2, "i")) == "answered"
    for hours, expected in ((-500.0, "replayed"), (1.99, "replayed"), (2.0, "answer-expired"), (1.0, "replayed")):
        clock.set(NOW + hours * HOUR)
        assert [outcome(ask(service, key.token, 2, "i")) for service in services] == [expected] * 2
    assert services[1].quota(key.token)["used"] == 2
    _assert_in_order(services[0], clock)


@pytest.mark.parametrize("hours", ["1e8", "1e300"])
def test_answer_may_be_kept_beyond_the_end_of_the_calendar(
    start_two: Callable[..., list[RunningService]], clock: FileClock, hours: str
) -> None:
    [service, _] = start_two(TEACHER_ANSWER_RETENTION_HOURS=hours)
    key = service.new_key("patient", 2)
    assert [outcome(ask(service, key.token, 2, "i")) for _ in range(2)] == ["answered", "replayed"]
    _assert_in_order(service, clock)


def test_counters_near_the_largest_number_are_exact_at_every_process(
    start_two: Callable[..., list[RunningService]],
) -> None:
    """Quota, used samples and a day's samples at the top of 64 bits: the last five are sold, and not one more."""
    services = start_two()
    place, before = services[0].ledger, LARGEST - 5
    key = services[0].new_key("rich", 1, samples_per_minute=MAX_PER_MINUTE, requests_per_minute=MAX_PER_MINUTE)
    rows(place, "UPDATE api_keys SET quota = ?, used = ? WHERE id = ?", LARGEST, before, key.id)
    rows(
        place,
        "INSERT INTO daily_usage (key_id, day, queries, samples) VALUES (?, ?, ?, ?)",
        *(key.id, int(NOW // 86_400), LARGEST - 5, before),
    )
    for service in services:
        quota = service.quota(key.token)
        assert (quota["limit"], quota["used"], quota["remaining"]) == (LARGEST, before, 5)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: outcome(ask(services[n % 2], key.token)), range(20)))
    assert sorted(answers) == ["answered"] * 5 + ["quota-exceeded"] * 15
    for service in services:
        quota = service.quota(key.token)
        assert (quota["limit"], quota["used"], quota["reserved"], quota["remaining"]) == (LARGEST, LARGEST, 0, 0)
        assert quota["samples_per_minute"]["remaining"] == MAX_PER_MINUTE - 5
        assert quota["requests_per_minute"]["remaining"] == MAX_PER_MINUTE - 20
    assert rows(place, "SELECT used, reserved FROM api_keys") == [(LARGEST, 0)]
    assert rows(place, "SELECT queries, samples FROM daily_usage") == [(LARGEST, LARGEST)]


def test_debt_at_its_largest_is_exact(start_two: Callable[..., list[RunningService]], clock: FileClock) -> None:
    """All but two of the largest burst are spent; they are sold, and time gives the others back."""
    services = start_two()
    key = services[0].new_key("fast", 1000, samples_per_minute=MAX_PER_MINUTE)
    rows(
        services[0].ledger,
        "UPDATE api_keys SET samples_debt = ?, samples_debt_at_ms = ? WHERE id = ?",
        (MAX_PER_MINUTE - 2) * 60_000,
        int(1000 * NOW),
        key.id,
    )
    assert services[1].quota(key.token)["samples_per_minute"]["remaining"] == 2
    assert [outcome(ask(service, key.token)) for service in services] == ["answered", "answered"]
    refused = ask(services[0], key.token)
    assert (outcome(refused), refused.headers["retry-after"]) == ("rate-limited", "1")
    clock.set(NOW + 30)
    assert services[0].quota(key.token)["samples_per_minute"]["remaining"] == MAX_PER_MINUTE // 2
    for years in (7000, -50):
        clock.set(NOW + years * 365 * 24 * HOUR)
        assert [outcome(ask(service, key.token)) for service in services] == ["answered", "answered"]


def test_ids_and_chain_beyond_32_bits_go_on(start_two: Callable[..., list[RunningService]]) -> None:
    """After four thousand million queries the next one is logged as the first was."""
    services = start_two()
    place, far = services[0].ledger, 2**32 + 7
    key = services[0].new_key("patient", 100)
    assert outcome(ask(services[0], key.token, 1, "first")) == "answered"
    same = ", ".join(name for name in FACTS if name not in ("id", "status", "idempotency_key", "answer_sha256"))
    rows(
        place,
        f"INSERT INTO queries (id, status, {same}) SELECT ?, 'released', {same} FROM queries",
        far,
    )
    rows(place, "UPDATE chain_head SET sequence = ?", far)
    assert [outcome(ask(service, key.token, 1, "next")) for service in services] == ["answered", "replayed"]
    assert rows(place, "SELECT id FROM queries WHERE idempotency_key = 'next'") == [(far + 1,)]
    assert rows(place, "SELECT sequence FROM chain_head") == [(far + 2,)]
    assert services[1].quota(key.token)["used"] == 2


def _assert_in_order(service: RunningService, clock: FileClock) -> None:
    engine = open_database(service.ledger)
    report = verify(engine, now=clock())
    engine.dispose()
    assert report.problems == []
    assert "Traceback" not in service.log.read_text()
