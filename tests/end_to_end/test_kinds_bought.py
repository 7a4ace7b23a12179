"""What keys of different policies buy of our service, over HTTP, and what its log says of it."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distill_worker.errors import TeacherChanged
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.oip import OipTeacher
from shared.networks import build_network
from shared.weights import load_weights, weights_bytes
from teacher_service.models import TorchTeacher
from teacher_service.policy.output_policy import OutputPolicy
from tests.end_to_end.conftest import StartService
from tests.endurance import HANG_SECONDS

IMAGES = np.random.default_rng(5).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)
EXPECTED = ("label", "log_probabilities", "probabilities:3", "top_k:5:2")


def _client(url: str, api_key: str, *, binary: bool = True) -> OipTeacher:
    sender = Sender(url, api_key=api_key, timeout_seconds=HANG_SECONDS, give_up_after_seconds=HANG_SECONDS)
    return OipTeacher(sender, model="teacher", binary=binary)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_every_kind_that_a_key_may_see_is_bought_as_it_is_described(
    start_service: StartService, weights: Path, binary: bool
) -> None:
    """All in one request, equal to what the model says by itself; the log has the request under its names."""
    began = time.time()
    service = start_service()
    key = service.new_key("several", 100, outputs=OutputPolicy.parse(",".join(EXPECTED)))
    with _client(service.url, key.token, binary=binary) as teacher:
        description = teacher.describe()
        answer = teacher.buy(IMAGES, description=description, idempotency_key="once", outputs=EXPECTED)
        again = teacher.buy(IMAGES, description=description, idempotency_key="once", outputs=EXPECTED)
        log = list(teacher.queries(since=began) or [])
    assert dict(description.outputs) == {
        "label": (1,),
        "log_probabilities": (10,),
        "probabilities:3": (10,),
        "top_k:5:2": (5, 2),
    }
    assert description.repeats_are_free
    logits = torch.from_numpy(TorchTeacher(weights, "cpu", trust_code=True).predict(IMAGES)).double()
    probabilities = logits.softmax(dim=1)
    best = probabilities.topk(5, dim=1)
    assert answer.outputs["label"].ravel().tolist() == logits.argmax(dim=1).tolist()
    np.testing.assert_allclose(answer.outputs["log_probabilities"], logits.log_softmax(dim=1), atol=1e-5)
    np.testing.assert_allclose(answer.outputs["probabilities:3"], probabilities, atol=5.1e-4)
    np.testing.assert_allclose(answer.outputs["top_k:5:2"][..., 1], best.values, atol=5.1e-3)
    assert answer.outputs["top_k:5:2"][..., 0].tolist() == best.indices.tolist()
    for kind in EXPECTED:
        assert np.array_equal(again.outputs[kind], answer.outputs[kind])
    (query,) = log
    assert (query.idempotency_key, query.status, query.samples) == ("once", "settled", 4)
    assert set(query.outputs) == {"label", "log_probabilities", "probabilities", "top_k", "top_k_indices"}
    assert query.model_version == description.id
    assert query.request_id == answer.query_id
    assert query.finished_at is not None
    assert began <= query.created_at <= query.finished_at <= time.time()


def test_a_replaced_model_is_noticed_before_anything_is_charged(
    start_service: StartService, weights: Path, tmp_path: Path
) -> None:
    card, _, old = load_weights(weights, trust_code=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        network = build_network(card.network, num_classes=10, in_channels=1)
    (tmp_path / "new.safetensors").write_bytes(weights_bytes(network, card))
    _, _, new = load_weights(tmp_path / "new.safetensors")
    service = start_service()
    key = service.new_key("patient", 100)
    with _client(service.url, key.token) as teacher:
        description = teacher.describe()
        service.kill()
        changed = replace(service, weights=tmp_path / "new.safetensors", process=None)
        changed.start()
        with pytest.raises(TeacherChanged, match=f"expected version {old} .*got version {new}"):
            teacher.buy(IMAGES, description=description, idempotency_key="once")
    used = changed.quota(key.token)["used"]
    changed.kill()
    assert used == 0
