"""What `/v1/quota` and the RateLimit headers say is what enforcement does next, at every process of a ledger."""

import re
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from teacher_service.keys.store import KeyStore
from teacher_service.policy.key_terms import KeyTerms
from tests.end_to_end.asking import INFER, ask, outcome, paying
from tests.end_to_end.clocked_service import FileClock
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService, http
from tests.end_to_end.quota_model import KeyModel, Limit, predicted
from tests.endurance import rounds

_LIMITS = st.sampled_from([None, 1, 3, 7, 60])
_STEPS_MS = [125, 1000, 7500, 20_000, 59_875, 60_000, 61_000, 7_200_000]
_SERVICES = st.integers(0, 1)
_SAMPLES = st.integers(1, 5)


class QuotaMachine(RuleBasedStateMachine):
    """One key, two services, and a model that is told the same."""

    def __init__(self, services: list[RunningService], keys: KeyStore, clock: FileClock) -> None:
        super().__init__()
        self.services, self.keys, self.clock = services, keys, clock
        self.now_ms = 1_000_000_000_000
        self.clock.set(self.now_ms / 1000)
        self.restarts = 0
        self.model = KeyModel(20, requests=Limit(7), samples=Limit(12))
        terms = KeyTerms(requests_per_minute=7, samples_per_minute=12)
        self.key = keys.create(f"key {len(keys.all())}", 20, terms=terms)

    @rule(first=_SERVICES, second=_SERVICES, samples=_SAMPLES, name=st.sampled_from([None, None, "a", "b", "c"]))
    def infer(self, first: int, second: int, samples: int, name: str | None) -> None:
        """Asked at one service, after the other one said what is left."""
        told, is_new = self.told(second), name not in self.model.answered
        before = self.model.used
        expected = self.model.meets(samples, name, self.now_ms)
        if told is not None and is_new:
            assert predicted(told, samples) == expected
        answer = ask(self.services[first], self.key.token, samples, name)
        assert outcome(answer) == expected
        assert self.model.used == before + (samples if expected == "answered" else 0)
        self.check(answer, expected, samples)

    @rule(first=_SERVICES, second=_SERVICES)
    def send_rubbish(self, first: int, second: int) -> None:
        """It counts as a request and costs nothing."""
        told = self.told(second)
        expected = self.model.refused("invalid-request", self.now_ms)
        if told is not None:
            requests = told["requests_per_minute"]
            assert (expected == "rate-limited") == (requests is not None and requests["remaining"] < 1)
        answer = http().post(self.services[first].url + INFER, content=b"{", headers=paying(self.key.token))
        assert outcome(answer) == expected
        self.check(answer, expected, 0)

    @rule(step_ms=st.sampled_from([*_STEPS_MS, *(-step for step in _STEPS_MS)]))
    def step_clock(self, step_ms: int) -> None:
        """Forwards or backwards, for everybody."""
        self.now_ms += step_ms
        self.clock.set(self.now_ms / 1000)

    @precondition(lambda self: not self.model.revoked)
    @rule(samples=_SAMPLES)
    def grant(self, samples: int) -> None:
        """More quota."""
        self.keys.grant(self.key.id, samples, "more")
        self.model.quota += samples

    @precondition(lambda self: not self.model.revoked)
    @rule(requests=_LIMITS, samples=_LIMITS, expires_in_ms=st.sampled_from([None, None, None, 30_000]))
    def change_terms(self, requests: int | None, samples: int | None, expires_in_ms: int | None) -> None:
        """Other limits."""
        ends_ms = None if expires_in_ms is None else self.now_ms + expires_in_ms
        ends = None if ends_ms is None else ends_ms / 1000
        self.keys.change(self.key.id, requests_per_minute=requests, samples_per_minute=samples, expires_at=ends)
        self.model.limit(requests, samples)
        self.model.expires_at_ms = ends_ms

    @precondition(lambda self: self.model.used > 8)
    @rule()
    def revoke(self) -> None:
        """It is refused from now on."""
        self.keys.revoke(self.key.id)
        self.model.revoked = True

    @precondition(lambda self: self.restarts < 1)
    @rule(which=_SERVICES)
    def restart(self, which: int) -> None:
        """One dies, and comes back."""
        self.restarts += 1
        self.services[which].kill()
        self.services[which].start()

    def told(self, which: int) -> dict[str, Any] | None:
        """What a service says of the key, which is what the model says; None when it refuses the key."""
        answer = http().get(f"{self.services[which].url}/v1/quota", headers=paying(self.key.token))
        if self.model.is_over(self.now_ms):
            assert outcome(answer) == "unauthorized"
            return None
        told: dict[str, Any] = answer.json()
        model, now_ms = self.model, self.now_ms
        assert (told["limit"], told["used"], told["reserved"], told["in_flight"]) == (model.quota, model.used, 0, 0)
        assert told["remaining"] == model.quota - model.used
        for said, limit in ((told["requests_per_minute"], model.requests), (told["samples_per_minute"], model.samples)):
            assert (said is None) == (limit is None)
            if limit is not None:
                assert (said["limit"], said["remaining"]) == (limit.per_minute, limit.left(now_ms))
                whole_in_seconds = float(limit.outstanding(now_ms) * 60 / limit.per_minute)
                assert said["whole_in_seconds"] == pytest.approx(whole_in_seconds)
        return told

    def check(self, answer: httpx.Response, expected: str, samples: int) -> None:
        """The headers say what both services say next; and when to come back, which is neither late nor early."""
        after = [self.told(which) for which in (0, 1)]
        assert after[0] == after[1]
        if after[0] is None:
            return
        assert _headers(answer) == _as_headers(after[0])
        assert ("retry-after" in answer.headers) == (expected == "rate-limited")
        if expected == "rate-limited":
            requests, limit = self.model.requests, self.model.samples
            waits = [] if requests is None else [requests.seconds_until(1, self.now_ms)]
            if limit is not None and not (requests is not None and not requests.left(self.now_ms)):
                waits = [limit.seconds_until(samples, self.now_ms)]
            assert answer.headers["retry-after"] == str(waits[0])


def _headers(answer: httpx.Response) -> dict[str, tuple[int, int, int | None]]:
    """Of each limit its size, what remains, and in how many seconds all of it will."""
    sizes = dict(re.findall(r'"([a-z-]+)";q=(\d+)', answer.headers["ratelimit-policy"]))
    left = re.findall(r'"([a-z-]+)";r=(\d+)(?:;t=(\d+))?', answer.headers["ratelimit"])
    return {name: (int(sizes[name]), int(rest), int(whole) if whole else None) for name, rest, whole in left}


def _as_headers(told: dict[str, Any]) -> dict[str, tuple[int, int, int | None]]:
    said: dict[str, tuple[int, int, int | None]] = {"quota": (told["limit"], told["remaining"], None)}
    for name in ("requests", "samples"):
        limit = told[f"{name}_per_minute"]
        if limit is not None:
            said[f"{name}-per-minute"] = (limit["limit"], limit["remaining"], ceil(limit["whole_in_seconds"]))
    return said


def test_quota_headers_and_enforcement_agree_whatever_happens(
    start_service: StartService, ledger_place: Path | str, tmp_path: Path
) -> None:
    clock = FileClock(tmp_path / "clock")
    clock.set(1_000_000_000.0)
    environment = {"CLOCK": str(clock.path), "TEACHER_ANSWER_RETENTION_HOURS": "inf", "TEACHER_MAX_BATCH_SIZE": "8"}
    module = "tests.end_to_end.clocked_service"
    services = [start_service(database=ledger_place, module=module, **environment) for _ in range(2)]
    chosen = settings(max_examples=rounds(4, 15), stateful_step_count=25)
    with services[0].keys(clock) as keys:
        run_state_machine_as_test(partial(QuotaMachine, services, keys, clock), settings=chosen)  # type: ignore[arg-type]  # any factory will do
