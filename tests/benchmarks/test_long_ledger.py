"""The long ledger of the benchmark is one that a service could have left."""

import time
from pathlib import Path

from benchmarks.long_ledger import KEYS, write_past
from teacher_service.database.engine import open_database
from teacher_service.query_log.verify import verify
from tests.teacher_service.ledger_file import rows


def test_long_ledger_is_whole_and_has_every_status(ledger_place: Path | str) -> None:
    past = write_past(ledger_place, 3000)
    engine = open_database(ledger_place)
    report = verify(engine, now=time.time())
    engine.dispose()
    assert report.problems == []
    assert report.entries == 2 * 3000 - 5
    by_status = dict(rows(ledger_place, "SELECT status, COUNT(*) FROM queries GROUP BY status"))
    assert by_status == {"held": 5, "released": 3, "settled": 2992}
    assert rows(ledger_place, "SELECT COUNT(DISTINCT key_id) FROM queries") == [(KEYS,)]
    assert past.begun_at < rows(ledger_place, "SELECT MIN(created_at) FROM queries")[0][0]
