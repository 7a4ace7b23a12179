"""Many clients, several processes, one quota."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from shared import oip
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import join
from tests.endurance import ENDURANCE, HANG_SECONDS, record

CLIENTS_PER_PROCESS = 32
ATTEMPTS = 6


@pytest.mark.parametrize("remaining", [37, 101] if ENDURANCE else [37])
def test_exactly_the_remaining_samples_are_answered_when_64_clients_race(
    start_service: StartService, tmp_path: Path, ledger_place: Path | str, remaining: int
) -> None:
    """64 clients, 32 at each of 2 services on one ledger, ask for 1 to 3 samples each, again and again: not one sample
    too many is answered.
    """
    kind = "postgresql" if isinstance(ledger_place, str) else "sqlite"
    services = [start_service(database=ledger_place) for _ in range(2)]
    api_key = services[0].create_key("racers", quota=remaining)
    context = multiprocessing.get_context("forkserver")
    totals = [tmp_path / f"answered-{index}" for index in range(2)]
    racers = [
        context.Process(target=race, args=(service.url, api_key, total), daemon=True)
        for service, total in zip(services, totals, strict=True)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        join(racer)
    answered = sum(int(total.read_text()) for total in totals)
    # One sample at a time until refused: whatever larger requests could not use is used up.
    with httpx.Client(base_url=services[1].url, timeout=HANG_SECONDS) as http:
        while _ask(http, api_key, 1):
            answered += 1
    name = f"over_admitted_of_{remaining}_{kind}"
    record("concurrency", name, [answered - remaining], unit="samples", better="lower", target=0)
    assert answered == remaining
    for service in services:
        quota = service.quota(api_key)
        assert (quota["used"], quota["reserved"], quota["remaining"]) == (remaining, 0, 0)


def race(url: str, api_key: str, total: Path) -> None:
    """The clients of one process; writes how many samples were answered."""

    def client(index: int) -> int:
        with httpx.Client(base_url=url, timeout=HANG_SECONDS) as http:
            return sum(_ask(http, api_key, 1 + (index + attempt) % 3) for attempt in range(ATTEMPTS))

    with ThreadPoolExecutor(CLIENTS_PER_PROCESS) as pool:
        total.write_text(str(sum(pool.map(client, range(CLIENTS_PER_PROCESS)))))


def _ask(http: httpx.Client, api_key: str, samples: int) -> int:
    """The number of samples that were answered: all of them or none."""
    body = oip.encode_request({"images": np.zeros((samples, 1, 8, 8), np.uint8)}, outputs=["logits"])
    answer = http.post(
        "/v2/models/teacher/infer",
        content=body.content,
        headers={**body.headers, "Authorization": f"Bearer {api_key}"},
    )
    if answer.status_code == 429:
        assert "retry-after" not in answer.headers
        return 0
    answer.raise_for_status()
    _, tensors = oip.decode_response(answer.content, answer.headers.get(oip.HEADER_LENGTH))
    return len(tensors["logits"])
