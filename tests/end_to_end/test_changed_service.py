"""An answer was paid for and lost; the service comes back another. What was paid for is still given, once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from shared import oip
from shared.networks import build_network
from shared.weights import load_weights, weights_bytes
from tests.end_to_end.asking import wait_until
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService
from tests.endurance import HANG_SECONDS

SAMPLES = 8
BODY = oip.encode_request({"images": np.zeros((SAMPLES, 1, 8, 8), np.uint8)}, outputs=["logits"])


@pytest.mark.parametrize(
    "environment",
    [{"TEACHER_MAX_BATCH_SIZE": "4"}, {"TEACHER_MODEL_NAME": "renamed"}],
    ids=["smaller requests", "another name"],
)
def test_paid_answer_is_replayed_after_the_settings_changed(
    start_service: StartService, weights: Path, environment: dict[str, str]
) -> None:
    _, _, version = load_weights(weights, trust_code=True)
    service = start_service()
    api_key = service.create_key("patient", quota=100)
    first = _ask(service, api_key, "teacher", version)
    assert first.status_code == 200
    changed = _restarted(service, replace(service, environment=environment))
    name = environment.get("TEACHER_MODEL_NAME", "teacher")
    again = _ask(changed, api_key, name, version)
    changed.kill()
    assert (again.status_code, again.content) == (200, first.content)


def test_paid_answer_of_the_old_model_is_never_given_for_the_new_one(
    start_service: StartService, weights: Path, tmp_path: Path
) -> None:
    """Asked for by its version the old answer is still there; the new version is a new query, and is charged."""
    card, _, old = load_weights(weights, trust_code=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        network = build_network(card.network, num_classes=10, in_channels=1)
    (tmp_path / "new.safetensors").write_bytes(weights_bytes(network, card))
    _, _, new = load_weights(tmp_path / "new.safetensors")
    service = start_service()
    api_key = service.create_key("patient", quota=100)
    first = _ask(service, api_key, "teacher", old)
    changed = _restarted(service, replace(service, weights=tmp_path / "new.safetensors"))
    assert _ask(changed, api_key, "teacher", old).content == first.content
    mismatch = _ask(changed, api_key, "teacher", new)
    fresh = _ask(changed, api_key, "teacher", new, key="another")
    used = changed.quota(api_key)["used"]
    changed.kill()
    assert mismatch.status_code == 422, "the same key for another version is another payload"
    assert fresh.status_code == 200
    assert fresh.content != first.content
    assert used == 2 * SAMPLES


def test_live_service_frees_the_holds_of_a_dead_peer(
    start_service: StartService, slow_weights: Path, ledger_place: Path | str, tmp_path: Path
) -> None:
    """Two services on one ledger; one dies with a hold. The other answers the repetition, charged once."""
    _, _, version = load_weights(slow_weights, trust_code=True)
    gate = tmp_path / "gate"
    dying = start_service(database=ledger_place, GATE=str(gate))
    api_key = dying.create_key("patient", quota=SAMPLES)
    living = start_service(database=ledger_place, SECONDS_A_PASS="0")
    gate.touch()
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(_ask, dying, api_key, "teacher", version)
        wait_until(lambda: bool(living.quota(api_key)["reserved"] == SAMPLES))
        dying.kill()
        assert isinstance(lost.exception(), httpx.TransportError)
    answer = _ask(living, api_key, "teacher", version)
    quota = living.quota(api_key)
    assert answer.status_code == 200
    assert (quota["used"], quota["reserved"]) == (SAMPLES, 0)


def _restarted(old: RunningService, new: RunningService) -> RunningService:
    old.kill()
    new.start()
    return new


def _ask(service: RunningService, api_key: str, model: str, version: str, *, key: str = "once") -> httpx.Response:
    return httpx.post(
        f"{service.url}/v2/models/{model}/versions/{version}/infer",
        content=BODY.content,
        headers={**BODY.headers, "Authorization": f"Bearer {api_key}", "Idempotency-Key": key},
        timeout=HANG_SECONDS,
    )
