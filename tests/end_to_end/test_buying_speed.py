"""How fast a purchase is: as fast as the teacher takes it, and as fast as a limit allows without running into it."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.buying.fetch import fetch
from distill_worker.buying.order import PurchaseOrder
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.config.teacher_address import OpenInferenceAddress
from distill_worker.teachers.base import Teacher
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.oip import OipTeacher
from shared.sample_key import sample_key
from tests.distill_worker.purchases import cached_outputs
from tests.end_to_end.conftest import StartService
from tests.endurance import record
from tests.foreign.oip_server import ForeignModel, served

pytestmark = pytest.mark.alone
Samples = Mapping[bytes, NDArray[np.uint8]]

DEFAULT = OpenInferenceAddress()
LATENCY_SECONDS = 0.2
PER_MINUTE = 600
"""Samples that may be asked for at once, and that come back in a minute."""


def _images(count: int) -> Samples:
    made = np.random.default_rng(20261124).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    return {sample_key(image): image for image in made}


def _bought_in(teacher: Teacher, place: Path, samples: Samples, *, concurrency: int) -> float:
    """Seconds that a whole purchase takes, from the plan to the last output that is kept."""
    description = teacher.describe()
    with Cache(place) as cache:
        began = time.monotonic()
        order = PurchaseOrder(
            teacher, description, cache, samples, request_size=DEFAULT.request_size, concurrency=concurrency
        )
        made = plan(order)
        with cache.buying() as buyer:
            bought = fetch(order, made, samples, buyer=buyer)
        seconds = time.monotonic() - began
        assert bought == len(samples)
        assert len(cached_outputs(cache, cache.stream(description.id, "logits"), samples)) == len(samples)
    return seconds


def test_a_slow_teacher_is_asked_many_times_at_once(tmp_path: Path) -> None:
    """2,000 samples at 200 ms a request: six times as fast as one request after another, or more."""
    samples = _images(2000)
    seconds: dict[int, float] = {}
    for concurrency in (1, DEFAULT.concurrency):
        model = ForeignModel(
            lambda images: images.reshape(len(images), -1)[:, :3].astype(np.float64),
            image_shape=(1, 8, 8),
            tensors=("logits",),
            seconds_a_request=LATENCY_SECONDS,
        )
        with served(model) as url:
            sender = Sender(url, api_key=None, timeout_seconds=60, give_up_after_seconds=120, most_at_once=concurrency)
            with OipTeacher(sender, model=model.name) as teacher:
                place = tmp_path / f"{concurrency}.sqlite"
                seconds[concurrency] = _bought_in(teacher, place, samples, concurrency=concurrency)
        assert sum(model.charged) == len(samples)
        assert model.most_in_flight <= concurrency
    faster = seconds[1] / seconds[DEFAULT.concurrency]
    record("buying", "default_vs_one_at_a_time_200_ms", [faster], unit="ratio", better="higher", target=6)
    assert faster >= 6, seconds


class Watched(httpx.BaseTransport):
    """The network, and the statuses of what was bought, in the order of their arrival."""

    def __init__(self) -> None:
        self._network = httpx.HTTPTransport()
        self.statuses: list[int] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        response = self._network.handle_request(request)
        if request.method == "POST":
            self.statuses.append(response.status_code)
        return response

    def close(self) -> None:
        """See httpx."""
        self._network.close()


def test_a_rate_that_is_told_is_used_up_and_not_run_into(start_service: StartService, tmp_path: Path) -> None:
    """600 samples at once and 600 more at 600 a minute, from our service: no two refusals in a row, no time wasted."""
    service = start_service()
    samples = _images(2 * PER_MINUTE)
    key = service.new_key("paced", len(samples), samples_per_minute=PER_MINUTE)
    network = Watched()
    sender = Sender(
        service.url,
        api_key=key.token,
        timeout_seconds=60,
        give_up_after_seconds=120,
        most_at_once=DEFAULT.concurrency,
        transport=network,
    )
    with OipTeacher(sender, model="teacher") as teacher:
        seconds = _bought_in(teacher, tmp_path / "cache.sqlite", samples, concurrency=DEFAULT.concurrency)
    used = len(samples) / (PER_MINUTE + PER_MINUTE / 60 * seconds)
    in_a_row = _most_in_a_row(status == 429 for status in network.statuses)
    record("buying", "allowance_used_at_600_a_minute", [used], unit="share", better="higher", target=0.95)
    record("buying", "refusals_in_a_row_at_600_a_minute", [in_a_row], unit="answers", better="lower", target=1)
    assert used >= 0.95, seconds
    assert in_a_row <= 1, network.statuses


def _most_in_a_row(found: Iterable[bool]) -> int:
    most = row = 0
    for one in found:
        row = row + 1 if one else 0
        most = max(most, row)
    return most
