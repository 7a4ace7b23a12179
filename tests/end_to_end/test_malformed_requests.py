"""Malformed requests at two services on one ledger: they cost no quota, and count against one burst limit."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from shared import oip
from tests.end_to_end.asking import INFER, ask, body, outcome, paying
from tests.end_to_end.clocked_service import FileClock
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService, http

QUOTA = 5
A_MINUTE = 9
GOOD = body(2)
BAD_SHAPE = json.dumps({"inputs": [{"name": "images", "shape": [1, 1, 9, 9], "datatype": "UINT8", "data": [0] * 81}]})
MALFORMED: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "no JSON": (INFER, b"{", {}),
    "cut short": (INFER, GOOD.content[:-1], GOOD.headers),
    "head beyond the body": (INFER, GOOD.content, {oip.HEADER_LENGTH: "99999999"}),
    "another shape": (INFER, BAD_SHAPE.encode(), {}),
    "another model": ("/v2/models/another/infer", GOOD.content, GOOD.headers),
    "an encoding nobody reads": (INFER, GOOD.content, {**GOOD.headers, "Content-Encoding": "br"}),
    "not gzip": (INFER, GOOD.content, {**GOOD.headers, "Content-Encoding": "gzip"}),
    "an empty Idempotency-Key": (INFER, GOOD.content, {**GOOD.headers, "Idempotency-Key": '""'}),
    "too large": (INFER, bytes(70_000), {}),
}


@pytest.fixture
def services(start_service: StartService, ledger_place: Path | str, tmp_path: Path) -> list[RunningService]:
    """Two, by a clock that stands still, so that no limit comes back meanwhile."""
    clock = FileClock(tmp_path / "clock")
    clock.set(1_000_000.0)
    environment = {"CLOCK": str(clock.path), "TEACHER_MAX_BODY_BYTES": "65536"}
    module = "tests.end_to_end.clocked_service"
    return [start_service(database=ledger_place, module=module, **environment) for _ in range(2)]


def test_malformed_requests_cost_nothing_and_count_as_requests_at_both(services: list[RunningService]) -> None:
    """Each tells what is wrong and what is left; when nothing is, a good request is too fast as well."""
    assert len(MALFORMED) == A_MINUTE
    key = services[0].new_key("sloppy", QUOTA, requests_per_minute=A_MINUTE).token
    for sent, kind in enumerate(MALFORMED, 1):
        refused = _send(services[sent % 2], key, kind)
        assert 400 <= refused.status_code < 429, (kind, refused.text)
        assert f'"requests-per-minute";r={A_MINUTE - sent};' in refused.headers["ratelimit"], kind
        assert f'"quota";r={QUOTA}' in refused.headers["ratelimit"], kind
        for service in services:
            assert service.quota(key)["requests_per_minute"]["remaining"] == A_MINUTE - sent, kind
    for service in services:
        for refused in (_send(service, key, "no JSON"), ask(service, key, 1)):
            assert (refused.status_code, outcome(refused)) == (429, "rate-limited")
            assert int(refused.headers["retry-after"]) == 7  # 60 / 9, and no less
        quota = service.quota(key)
        assert (quota["used"], quota["reserved"], quota["remaining"], quota["in_flight"]) == (0, 0, QUOTA, 0)


def test_malformed_requests_that_race_at_both_are_counted_exactly(services: list[RunningService]) -> None:
    """64 at once: as many as may be are told what is wrong, the others that they are too fast."""
    key = services[0].new_key("sloppy", QUOTA, requests_per_minute=A_MINUTE).token
    with ThreadPoolExecutor(32) as pool:
        refused = list(pool.map(lambda n: outcome(_send(services[n % 2], key, "no JSON")), range(64)))
    assert sorted(refused) == ["invalid-request"] * A_MINUTE + ["rate-limited"] * (64 - A_MINUTE)
    quota = services[1].quota(key)
    assert (quota["used"], quota["reserved"], quota["requests_per_minute"]["remaining"]) == (0, 0, 0)


def _send(service: RunningService, api_key: str, kind: str) -> httpx.Response:
    path, content, headers = MALFORMED[kind]
    return http().post(service.url + path, content=content, headers={**paying(api_key), **headers})
