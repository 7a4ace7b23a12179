"""What the service says of itself: Prometheus' text, the protocol's statistics, and one line a query in the log."""

from pathlib import Path

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from tests.teacher_service.running_service import QUOTA, ServiceUnderTest, images, start_service
from tests.teacher_service.wire import assert_refused

_TELLING = ("reason", "key_id", "le")
KEY = {"Idempotency-Key": "once"}


def _metrics(service: ServiceUnderTest, **headers: str) -> dict[tuple[str, str], float]:
    """Values by name and by reason, key or bucket, whichever it has."""
    response = service.send("GET", "/metrics", headers)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, next((sample.labels[name] for name in _TELLING if name in sample.labels), "")): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def _ask(service: ServiceUnderTest) -> None:
    """Three samples and two, the two once more, too many, and nonsense."""
    assert service.infer(images(3)).status_code == 200
    for _ in range(2):
        assert service.infer(images(2), KEY).status_code == 200
    assert service.infer(images(9)).status_code == 400
    assert service.send("POST", "/v2/models/teacher/infer", service.authorization, b"{").status_code == 400
    assert service.send("POST", "/v2/models/teacher/infer").status_code == 401


def test_metrics_count_queries_samples_passes_and_quotas(service: ServiceUnderTest) -> None:
    _ask(service)
    found = _metrics(service)
    assert found["nv_inference_request_success_total", ""] == 3
    assert found["nv_inference_count_total", ""] == 5
    assert found["nv_inference_exec_count_total", ""] == 2
    assert found["nv_cache_num_hits_per_model_total", ""] == 1
    assert found["nv_inference_request_failure_total", "invalid-request"] == 2
    assert found["nv_inference_request_failure_total", "unauthorized"] == 1
    assert found["nv_inference_pending_sample_count", ""] == 0
    for name in ("request", "queue", "compute_infer"):
        assert found[f"nv_inference_{name}_duration_us_total", ""] > 0
    buckets = [found["teacher_batch_size_samples_bucket", bound] for bound in ("1.0", "2.0", "4.0", "+Inf")]
    assert buckets == [0, 1, 2, 2]
    assert found["teacher_batch_size_samples_sum", ""] == 5
    assert found["teacher_request_duration_seconds_count", ""] == 2
    assert found["teacher_request_duration_seconds_bucket", "+Inf"] == 2
    quotas = [
        found[f"teacher_quota_{name}_samples", service.key.id] for name in ("limit", "used", "reserved", "remaining")
    ]
    assert quotas == [QUOTA, 5, 0, QUOTA - 5]


def test_other_routes_and_callers_make_no_new_numbers(service: ServiceUnderTest) -> None:
    """Whatever strangers send, there are as many time series as before."""
    _ask(service)
    before = _metrics(service).keys()
    for number in range(5):
        service.send("GET", f"/v2/models/model-{number}")
        service.send("POST", "/v2/models/teacher/infer", {"Authorization": f"Bearer nonsense-{number}"})
    assert _metrics(service).keys() == before
    assert _metrics(service)["nv_inference_request_failure_total", "unauthorized"] == 6


def test_statistics_are_those_of_the_protocol_s_extension(service: ServiceUnderTest) -> None:
    _ask(service)
    version = service.teacher.fingerprint
    for path in ("stats", "teacher/stats", f"teacher/versions/{version}/stats"):
        (found,) = service.send("GET", f"/v2/models/{path}").json()["model_stats"]
        assert (found["name"], found["version"]) == ("teacher", version)
        assert (found["inference_count"], found["execution_count"]) == (5, 2)
        counts = {name: entry["count"] for name, entry in found["inference_stats"].items()}
        assert counts == {
            "success": 2,
            "fail": 3,
            "queue": 2,
            "compute_input": 0,
            "compute_infer": 2,
            "compute_output": 0,
            "cache_hit": 1,
            "cache_miss": 0,
        }
        assert [batch["batch_size"] for batch in found["batch_stats"]] == [2, 3]
        assert found["inference_stats"]["compute_infer"]["ns"] > 0
        assert found["last_inference"] > 0
    assert_refused(service.send("GET", "/v2/models/other/stats"), 404, "unknown-model")


def test_metrics_may_be_locked(weights: Path, tmp_path: Path) -> None:
    with start_service(weights, tmp_path, metrics_key="0123456789abcdef") as service:
        for headers in ({}, {"Authorization": "Bearer 0123456789abcdeg"}, service.authorization):
            for path in ("/metrics", "/v2/models/stats"):
                response = service.send("GET", path, headers)
                assert (response.status_code, response.json()["type"]) == (401, "/problems/unauthorized")
        assert _metrics(service, Authorization="Bearer 0123456789abcdef")


def test_every_query_is_one_line_of_the_log(service: ServiceUnderTest) -> None:
    with structlog.testing.capture_logs() as lines:
        _ask(service)
    found = [line for line in lines if line["event"] == "query"]
    assert [line["outcome"] for line in found] == [
        "answered",
        "answered",
        "replayed",
        "invalid-request",
        "invalid-request",
        "unauthorized",
    ]
    first = found[0]
    assert (first["key_id"], first["samples"], first["outputs"], first["status"]) == (service.key.id, 3, "logits", 200)
    assert first["total_ms"] >= first["compute_ms"] > 0
    assert first["answer_bytes"] > 0
    assert service.key.token not in str(lines)


@pytest.mark.parametrize("path", ["/metrics", "/v2/models/stats"])
def test_being_observed_costs_nothing(patient_service: ServiceUnderTest, path: str) -> None:
    before = patient_service.counts()
    assert patient_service.send("GET", path).status_code == 200
    assert patient_service.counts() == before
