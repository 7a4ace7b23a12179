"""`infer`, through the whole application: what is answered, charged, replayed, and given back when something fails."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch

from shared import oip
from shared.weights import load_weights
from teacher_service.database.engine import open_database, open_process_lock
from teacher_service.inference.batcher import Images, Rows
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.ledger.ledger import Ledger
from tests.teacher_service.ledger_file import WAIT_SECONDS, FakeClock, counts, query, rows, table_gone
from tests.teacher_service.running_service import INFER, QUOTA, ServiceUnderTest, images, in_progress, start_service
from tests.teacher_service.wire import (
    GOOD,
    GOOD_HEADERS,
    assert_refused,
    binary_request,
    json_request,
    request_head,
    tensor_request,
)


def _logits(response: httpx2.Response) -> Rows:
    assert response.status_code == 200, response.text
    _, outputs = oip.decode_response(response.content, response.headers.get(oip.HEADER_LENGTH))
    assert list(outputs) == ["logits"]
    return outputs["logits"]


def _expected(weights: Path, pixels: Images) -> Rows:
    """One image at a time, each pixel normalised by the formula in double precision."""
    card, network, _ = load_weights(weights)
    answers = []
    for image in pixels:
        channels = [
            (image[channel].astype(np.float64) / 255 - card.mean[channel]) / card.std[channel] for channel in range(3)
        ]
        with torch.no_grad():
            answers.append(network(torch.tensor(np.stack(channels)[None], dtype=torch.float32))[0].numpy())
    return np.stack(answers)


def test_answer_is_the_models_logits_and_is_charged(service: ServiceUnderTest, weights: Path) -> None:
    pixels = images(5)
    response = service.infer(pixels)
    np.testing.assert_allclose(_logits(response), _expected(weights, pixels), rtol=1e-4, atol=1e-5)
    assert service.counts() == (5, 0)


def test_answer_is_laid_out_as_the_protocol_says(service: ServiceUnderTest) -> None:
    """By hand: the id is echoed, the version is the fingerprint, and the floats follow the head."""
    content, headers = binary_request({"id": "my-7"} | request_head())
    response = service.send("POST", INFER, service.authorization | headers, content)
    assert response.status_code == 200
    length = int(response.headers["inference-header-content-length"])
    assert json.loads(response.content[:length]) == {
        "model_name": "teacher",
        "model_version": service.teacher.fingerprint,
        "id": "my-7",
        "outputs": [{"name": "logits", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": 32}}],
    }
    assert len(response.content) == length + 32


@pytest.mark.parametrize("nested", [True, False])
def test_json_request_gets_a_json_answer(service: ServiceUnderTest, nested: bool) -> None:
    """A client that knows nothing of binary tensors sends and reads plain JSON; the price is the same."""
    pixels = images(2)
    content, headers = json_request(pixels.tolist() if nested else pixels.ravel().tolist(), [2, 3, 8, 8])
    response = service.send("POST", INFER, service.authorization | headers, content)
    assert response.headers["content-type"] == "application/json"
    assert oip.HEADER_LENGTH not in response.headers
    output = response.json()["outputs"][0]
    assert (output["name"], output["shape"], output["datatype"]) == ("logits", [2, 4], "FP32")
    np.testing.assert_array_equal(
        np.array(output["data"], np.float32).reshape(2, 4), _logits(service.infer(pixels)), strict=True
    )
    assert service.counts() == (4, 0)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "X-API-Key"])
def test_key_is_taken_from_either_header(service: ServiceUnderTest, scheme: str) -> None:
    token = service.key.token
    paying = {"X-API-Key": token} if scheme == "X-API-Key" else {"Authorization": f"{scheme} {token}"}
    content, headers = binary_request(request_head())
    assert service.send("POST", INFER, paying | headers, content).status_code == 200
    assert service.send("GET", "/v1/quota", paying).json()["used"] == 2


def test_version_in_the_path_may_be_the_one_that_is_served(service: ServiceUnderTest) -> None:
    response = service.infer(images(1), path=f"/v2/models/teacher/versions/{service.teacher.fingerprint}/infer")
    assert response.status_code == 200


def test_every_query_is_logged_under_its_request_id(service: ServiceUnderTest) -> None:
    service.infer(images(3), {"X-Request-Id": "run-1.step_2"})
    service.teacher.instead = _not_a_number
    service.infer(images(2), {"X-Request-Id": "run-1.step_3"})
    log = rows(
        service.ledger_path, "SELECT request_id, key_id, samples, status, model_version FROM queries ORDER BY id"
    )
    version = service.teacher.fingerprint
    assert log == [
        ("run-1.step_2", service.key.id, 3, "settled", version),
        ("run-1.step_3", service.key.id, 2, "released", version),
    ]


def test_largest_request_fits_and_the_last_sample_of_a_quota_can_be_spent(service: ServiceUnderTest) -> None:
    for remaining in range(QUOTA - 8, 0, -8):
        assert service.infer(images(8)).headers["ratelimit"] == f'"quota";r={remaining}'
    assert service.infer(images(4)).status_code == 200
    assert service.counts() == (100, 0)


@pytest.mark.parametrize("key", ["i", "8e03978e-40d5-43e8-bc93-6894a57f9324", "with space, comma; semicolon"])
def test_replay_is_free_with_identical_bytes_whether_its_key_is_quoted_or_bare(
    service: ServiceUnderTest, key: str
) -> None:
    first = service.infer(images(2), {"Idempotency-Key": key})
    replays = [service.infer(images(2), {"Idempotency-Key": written}) for written in (key, f'"{key}"')]
    for replay in replays:
        assert (replay.status_code, replay.content) == (200, first.content)
        assert replay.headers[oip.HEADER_LENGTH] == first.headers[oip.HEADER_LENGTH]
        assert replay.headers["idempotency-replayed"] == "true"
        assert replay.headers["ratelimit"] == first.headers["ratelimit"]
    assert "idempotency-replayed" not in first.headers
    assert (service.counts(), service.teacher.passes) == ((2, 0), [2])


def test_replay_does_not_depend_on_how_the_payload_was_written(service: ServiceUnderTest) -> None:
    """The same pixels, nested, flat or with other spaces in the JSON, are the same payload."""
    pixels = images(1)
    bodies = [json_request(pixels.tolist(), [1, 3, 8, 8])[0], json_request(pixels.ravel().tolist(), [1, 3, 8, 8])[0]]
    bodies.append(bodies[0].replace(b", ", b",  "))
    headers = service.authorization | {"Idempotency-Key": "i"}
    assert len({service.send("POST", INFER, headers, body).content for body in bodies}) == 1
    assert (service.counts(), service.teacher.passes) == ((1, 0), [1])


def test_without_a_key_the_same_payload_is_charged_again(service: ServiceUnderTest) -> None:
    first, second = service.infer(images(2)), service.infer(images(2))
    assert first.content == second.content
    assert service.counts() == (4, 0)


@pytest.mark.parametrize("difference", ["pixel", "samples", "id", "json_answer"])
def test_other_payload_under_the_same_key_is_refused(service: ServiceUnderTest, difference: str) -> None:
    """Whatever would change the answer's bytes makes it another payload."""
    pixels, head = np.zeros((2, 3, 8, 8), np.uint8), request_head()
    headers = service.authorization | {"Idempotency-Key": "i"}
    paid = service.send("POST", INFER, headers | GOOD_HEADERS, GOOD)
    assert paid.status_code == 200
    pixels[1, 2, 7, 7] = difference == "pixel"
    other, lengths = {
        "pixel": lambda: binary_request(head, pixels.tobytes()),
        "samples": lambda: tensor_request([1, 3, 8, 8]),
        "id": lambda: binary_request({"id": "2"} | head),
        "json_answer": lambda: binary_request(head | {"outputs": []}),
    }[difference]()
    assert_refused(service.send("POST", INFER, headers | lengths, other), 422, "idempotency-key-reused")
    assert (service.counts(), service.teacher.passes) == ((2, 0), [2])
    assert service.send("POST", INFER, headers | GOOD_HEADERS, GOOD).content == paid.content


def test_idempotency_key_of_another_caller_is_another_key(service: ServiceUnderTest) -> None:
    other = {"Authorization": f"Bearer {service.new_key('other', 5).token}"}
    assert service.infer(images(2), {"Idempotency-Key": "i"}).status_code == 200
    theirs = service.infer(images(2, seed=1), {"Idempotency-Key": "i"} | other)
    assert "idempotency-replayed" not in theirs.headers
    assert theirs.headers["ratelimit"] == '"quota";r=3'
    assert service.counts() == (2, 0)


def test_what_was_paid_for_survives_a_restart(weights: Path, tmp_path: Path) -> None:
    with start_service(weights, tmp_path) as before:
        first = before.infer(images(2), {"Idempotency-Key": "i"})
    with start_service(weights, tmp_path, before.key) as after:
        replay = after.infer(images(2), {"Idempotency-Key": "i"})
        assert (replay.content, replay.headers["idempotency-replayed"]) == (first.content, "true")
        assert (after.counts(), after.teacher.passes) == ((2, 0), [])


def test_start_releases_what_a_dead_process_held(weights: Path, tmp_path: Path) -> None:
    with start_service(weights, tmp_path) as before:
        pass
    engine = open_database(f"sqlite:///{tmp_path}/ledger.sqlite")
    commits = GroupCommit(engine)
    with open_process_lock(engine) as dying:
        Ledger(engine, commits, dying, FakeClock()).reserve(query(before.key.id, 30)).result(WAIT_SECONDS)
    commits.close()
    engine.dispose()
    assert counts(tmp_path / "ledger.sqlite", before.key.id) == (0, 30)
    with start_service(weights, tmp_path, before.key) as after:
        assert after.counts() == (0, 0)


def test_repetition_of_a_request_in_progress_is_told_to_wait(service: ServiceUnderTest) -> None:
    again = {"Idempotency-Key": '"i"'}
    with in_progress(service, 2, {"Idempotency-Key": "i"}) as request:
        refused = service.infer(images(2), again)
        assert_refused(refused, 409, "request-in-progress")
        assert refused.headers["retry-after"] == "1"
        assert_refused(service.infer(images(1), again), 422, "idempotency-key-reused")
        assert service.counts() == (0, 2)
    replay = service.infer(images(2), again)
    assert (replay.content, replay.headers["idempotency-replayed"]) == (request.result().content, "true")
    assert (service.counts(), service.teacher.passes) == ((2, 0), [2])


def test_full_queue_sheds_load_and_charges_nothing(weights: Path, tmp_path: Path) -> None:
    """8 samples may be waiting, and 8 are: one more is told when to come back."""
    with start_service(weights, tmp_path, max_queued_samples=8) as service:
        with in_progress(service, 8) as request:
            refused = service.infer(images(1))
            assert_refused(refused, 503, "overloaded")
            assert refused.headers["retry-after"] == "1"
            assert service.counts() == (0, 8)
        assert request.result().status_code == 200
        assert service.infer(images(1)).status_code == 200
        assert service.counts() == (9, 0)


def test_exhausted_quota_is_final(service: ServiceUnderTest) -> None:
    """429 without Retry-After, and `x-should-retry: false`: no waiting brings the samples back. Less still fits."""
    key = service.new_key("poor", 5)
    paying = {"Authorization": f"Bearer {key.token}"}
    refused = service.infer(images(6), paying)
    assert_refused(refused, 429, "quota-exceeded")
    assert "retry-after" not in refused.headers
    assert refused.headers["x-should-retry"] == "false"
    facts = refused.json()
    assert (facts["limit"], facts["remaining"], facts["cost"]) == (5, 5, 6)
    assert counts(service.ledger_path, key.id) == (0, 0)
    assert service.infer(images(5), paying).headers["ratelimit"] == '"quota";r=0'
    assert_refused(service.infer(images(1), paying), 429, "quota-exceeded")
    assert counts(service.ledger_path, key.id) == (5, 0)


def _not_a_number(batch: Images) -> Rows:
    return np.full((len(batch), 4), np.nan, np.float32)


def _one_infinity(batch: Images) -> Rows:
    logits = np.zeros((len(batch), 4), np.float32)
    logits[-1, -1] = np.inf
    return logits


def _raise(_batch: Images) -> Rows:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize("failure", [_raise, _not_a_number, _one_infinity])
def test_failing_model_charges_nothing_and_frees_the_key(
    service: ServiceUnderTest, failure: Callable[[Images], Rows]
) -> None:
    service.teacher.instead = failure
    refused = service.infer(images(3), {"Idempotency-Key": "i"})
    assert_refused(refused, 500, "prediction-failed")
    assert "CUDA" not in refused.text
    assert service.counts() == (0, 0)
    service.teacher.instead = None
    retried = service.infer(images(3), {"Idempotency-Key": "i"})
    assert retried.status_code == 200
    assert "idempotency-replayed" not in retried.headers
    assert service.counts() == (3, 0)


@pytest.mark.parametrize("table", ["api_keys", "queries"])
def test_broken_ledger_gives_no_answers(service: ServiceUnderTest, table: str) -> None:
    """Fail closed, whether it cannot be read or cannot be written; and serve again when it is back."""
    with table_gone(service.ledger_path, table):
        refused = service.infer(images(2))
        assert_refused(refused, 503, "ledger-unavailable")
        assert refused.headers["retry-after"] == "2"
        assert service.teacher.passes == []
        if table == "api_keys":
            quota = service.send("GET", "/v1/quota", service.authorization)
            assert_refused(quota, 503, "ledger-unavailable", "application/problem+json")
    assert service.counts() == (0, 0)
    assert service.infer(images(2)).status_code == 200
    assert service.counts() == (2, 0)
