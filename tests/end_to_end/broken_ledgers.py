"""What a service must do whose ledger is broken, and once it is whole again, whatever it was that broke it."""

import time

from teacher_service.database.engine import open_database
from teacher_service.keys.api_key import NewKey
from teacher_service.query_log.verify import verify
from tests.end_to_end.asking import ask, outcome, wait_until
from tests.end_to_end.processes import RunningService
from tests.teacher_service.ledger_file import rows


def assert_nothing_is_admitted(service: RunningService, key: NewKey) -> None:
    """Every query is told to come back, and the service says that it is not ready."""
    for idempotency_key in (None, "during"):
        refused = ask(service, key.token, 2, idempotency_key)
        assert (refused.status_code, outcome(refused)) == (503, "ledger-unavailable"), refused.text
        assert int(refused.headers["retry-after"]) >= 1
    wait_until(lambda: not service.is_ready())
    assert service.process is not None
    assert service.process.is_alive()


def assert_recovered(service: RunningService, key: NewKey) -> None:
    """By itself. Before it broke, one query for two samples was answered as `before`; since then, none was."""
    wait_until(service.is_ready)
    quota = service.quota(key.token)
    assert (quota["used"], quota["reserved"], quota["in_flight"]) == (2, 0, 0)
    assert rows(service.ledger, "SELECT idempotency_key, status FROM queries") == [("before", "settled")]
    assert outcome(ask(service, key.token, 2, "during")) == "answered"
    assert outcome(ask(service, key.token, 2, "before")) == "replayed"
    assert service.quota(key.token)["used"] == 4
    engine = open_database(service.ledger)
    assert verify(engine, now=time.time()).problems == []
    engine.dispose()
