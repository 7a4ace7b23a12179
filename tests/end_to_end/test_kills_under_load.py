"""SIGKILL to services under load: nothing is over-admitted, charged twice, forgotten or held for ever.

What the clients were given is compared with what a stranger's connection reads in the ledger.
"""

import os
import random
import time
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread

from teacher_service.database.engine import open_database
from teacher_service.keys.api_key import NewKey
from teacher_service.query_log.verify import verify
from tests.end_to_end.asking import ask, outcome, wait_until
from tests.end_to_end.conftest import StartService
from tests.end_to_end.customers import Customers
from tests.end_to_end.processes import RunningService
from tests.endurance import record, rounds
from tests.teacher_service.ledger_file import rows

KILLS = rounds(10, 100)
CLIENTS = 8
AMPLE, SCARCE = 10**9, rounds(60, 300)
SEED = int(os.environ.get("TUITION_KILL_SEED", "20261123"))


def test_charge_log_row_and_answer_survive_a_kill_right_after_the_answer(
    start_service: StartService, ledger_place: Path | str
) -> None:
    """As a stranger reads them before the service is started again, and as the service replays them afterwards."""
    service = start_service(database=ledger_place)
    key = service.new_key("bought", 100)
    for number in range(1, 4):
        answer = ask(service, key.token, 5, f"i-{number}")
        service.kill()
        assert outcome(answer) == "answered"
        assert rows(ledger_place, "SELECT used, reserved FROM api_keys") == [(5 * number, 0)]
        logged = rows(ledger_place, "SELECT samples, status, answer_sha256 FROM queries ORDER BY id")
        assert logged[number - 1 :] == [(5, "settled", sha256(answer.content).hexdigest())]
        stored = rows(ledger_place, "SELECT content FROM answers WHERE idempotency_key = ?", f"i-{number}")
        assert stored == [(answer.content,)]
        service.start()
        replay = ask(service, key.token, 5, f"i-{number}")
        assert (outcome(replay), replay.content) == ("replayed", answer.content)
        assert service.quota(key.token)["used"] == 5 * number


def test_nothing_is_lost_or_charged_twice_when_services_are_killed_under_load(
    start_service: StartService, ledger_place: Path | str
) -> None:
    """Two services on one ledger, killed again and again and started again, while clients ask both."""
    services = [start_service(database=ledger_place, TEACHER_MAX_BATCH_SIZE="8") for _ in range(2)]
    ample, scarce = services[0].new_key("ample", AMPLE), services[0].new_key("scarce", SCARCE)
    customers = Customers(services, ample.token, scarce.token, SEED)
    over, ended = [0], Event()
    watch = Thread(target=_watch, args=(ledger_place, over, ended), daemon=True)
    killers = [
        Thread(target=_kill, args=(service, customers, SEED + number), daemon=True)
        for number, service in enumerate(services)
    ]
    customers.come(CLIENTS)
    for thread in [watch, *killers]:
        thread.start()
    for killer in killers:
        killer.join()
    wait_until(lambda: bool(customers.refused or customers.problems))  # the scarce quota runs out
    customers.leave()
    ended.set()
    watch.join()
    for service in services:
        service.kill()
        service.start()
    while outcome(ask(services[0], scarce.token, 1, f"rest-{time.monotonic_ns()}")) == "answered":
        pass  # whatever larger requests could not use
    assert not customers.problems
    assert len(customers.bought) >= KILLS // 2, "each service is killed only after more was answered"
    _check_and_record(ledger_place, customers, ample, scarce, max(over))


def _kill(service: RunningService, customers: Customers, seed: int) -> None:
    """Each time after some more answers, of which this service gave some or none."""
    moments = random.Random(seed)
    for _ in range(KILLS // 2):
        enough = len(customers.bought) + moments.randint(1, 8)
        wait_until(lambda enough=enough: len(customers.bought) >= enough or bool(customers.problems))  # type: ignore[misc]
        service.kill()
        service.start()


def _watch(place: Path | str, over: list[int], ended: Event) -> None:
    """By how much any key is over-admitted at any look, as its counters say and as the log says."""
    while not ended.wait(0.05):
        found = rows(
            place,
            "SELECT used + reserved - quota, (SELECT SUM(samples) FROM queries WHERE key_id = api_keys.id "
            "AND status <> 'released') - quota FROM api_keys",
        )
        over.extend(int(more) for row in found for more in row if more is not None)


def _check_and_record(place: Path | str, customers: Customers, ample: NewKey, scarce: NewKey, over: int) -> None:
    ids = {ample.token: ample.id, scarce.token: scarce.id}
    settled = rows(
        place,
        "SELECT q.key_id, q.idempotency_key, q.request_id, q.samples, a.content, q.answer_sha256 FROM queries q "
        "LEFT JOIN answers a ON a.query_id = q.id WHERE q.status = 'settled'",
    )
    by_name: dict[tuple[str, str], list[tuple[int, bytes | None, str]]] = {}
    for key_id, idempotency_key, request_id, samples, content, digest in settled:
        by_name.setdefault((key_id, idempotency_key or request_id), []).append((samples, content, digest))
    lost, changed = 0, customers.changed
    for bought in customers.bought:
        [*found] = by_name.get((ids[bought.api_key], bought.idempotency_key or bought.request_id), [])
        lost += not any(samples == bought.samples for samples, _, _ in found)
        for _, content, digest in found:
            kept = content == bought.content if bought.idempotency_key is not None else True
            changed += not kept or digest != sha256(bought.content).hexdigest()
    charged_of = {row[0]: int(row[1]) for row in rows(place, "SELECT id, used FROM api_keys")}
    twice = sum(sum(samples for samples, _, _ in found[1:]) for found in by_name.values())
    twice += sum(name in customers.refused for _, name in by_name)
    twice += abs(sum(charged_of.values()) - sum(samples for _, _, _, samples, _, _ in settled))
    [(held, stuck)] = rows(
        place, "SELECT SUM(reserved + in_flight), (SELECT COUNT(*) FROM queries WHERE status = 'held') FROM api_keys"
    )
    stuck += int(held) + SCARCE - charged_of[scarce.id]
    name = f"service_under_load_{'postgresql' if isinstance(place, str) else 'sqlite'}"
    record("kills", f"{name}_kills", [KILLS], unit="kills", better="higher", target=KILLS)
    record("kills", f"{name}_answers", [len(customers.bought)], unit="answers", better="higher")
    record("kills", f"{name}_over_admissions", [max(0, over)], unit="samples", better="lower", target=0)
    record("kills", f"{name}_double_charges", [twice], unit="samples", better="lower", target=0)
    record("kills", f"{name}_lost_log_rows", [lost], unit="rows", better="lower", target=0)
    record("kills", f"{name}_stuck_holds", [stuck], unit="samples", better="lower", target=0)
    record("kills", f"{name}_changed_answers", [changed], unit="answers", better="lower", target=0)
    assert (max(0, over), twice, lost, stuck, changed) == (0, 0, 0, 0, 0)
    engine = open_database(place)
    report = verify(engine, now=time.time())
    engine.dispose()
    assert report.problems == []
    assert report.entries >= 2 * len(customers.bought)
