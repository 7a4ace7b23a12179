"""Outputs that were damaged in the cache come back from our service, which keeps what it was paid for."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from distill_worker.cache import Cache
from distill_worker.cache.verify import verify
from distill_worker.fetch import fetch
from distill_worker.plan import Plan, plan
from distill_worker.targets import load_targets
from distill_worker.teachers.oip import OipTeacher
from distill_worker.teachers.sending import Sender
from shared.sample_key import sample_keys
from tests.end_to_end.conftest import StartService

IMAGES = np.random.default_rng(6).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
KEYS = sample_keys(IMAGES)


def test_damaged_outputs_are_given_again_for_nothing(start_service: StartService, tmp_path: Path) -> None:
    """Five requests; one block loses a row, another all of its rows."""
    service = start_service()
    key = service.new_key("careful", 40)
    place = tmp_path / "cache.sqlite"
    first = _buy(service.url, key.token, place)
    with Cache(place) as cache:
        before = load_targets(cache, first.teacher_id, KEYS)["logits"]
    with closing(sqlite3.connect(place)) as connection, connection:
        (vectors,) = connection.execute("SELECT vectors FROM blocks WHERE id = 2").fetchone()
        connection.execute("UPDATE blocks SET vectors = ? WHERE id = 2", (bytes(4) + vectors[4:],))
        connection.execute("UPDATE blocks SET vectors = zeroblob(length(vectors)) WHERE id = 4")
    with Cache(place) as cache:
        assert verify(cache, repair=True).repaired == 9
    again = _buy(service.url, key.token, place)
    assert (again.cached, len(again.to_buy), again.reopened_samples) == (31, 0, 16)
    with Cache(place) as cache:
        assert verify(cache).damages == []
        assert load_targets(cache, first.teacher_id, KEYS)["logits"].numpy().tobytes() == before.numpy().tobytes()
    assert service.quota(key.token)["used"] == 40


def _buy(url: str, token: str, place: Path) -> Plan:
    """Plan and buy all, eight samples a request; the plan."""
    samples = dict(zip(KEYS, IMAGES, strict=True))
    sender = Sender(url, api_key=token, timeout_seconds=30, give_up_after_seconds=30)
    with OipTeacher(sender, model="teacher") as teacher, Cache(place) as cache, cache.buying() as buyer:
        description = teacher.describe()
        made = plan(teacher, description, cache, samples, request_size=8)
        fetch(teacher, description, cache, made, samples, buyer=buyer, concurrency=2)
    return made
