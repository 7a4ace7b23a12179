"""Health and metadata: they cost nothing and need no key."""

from pathlib import Path

import pytest

from tests.teacher_service.ledger_file import table_gone, writer_locked_out
from tests.teacher_service.running_service import ServiceUnderTest, images, start_service
from tests.teacher_service.wire import assert_refused


def test_metadata_names_the_model_and_its_tensors(patient_service: ServiceUnderTest) -> None:
    version = patient_service.teacher.fingerprint
    server = patient_service.send("GET", "/v2").json()
    assert server["name"] == "tuition-teacher"
    assert {"binary_tensor_data", "model_version_is_fingerprint"} <= set(server["extensions"])
    for path in ("/v2/models/teacher", f"/v2/models/teacher/versions/{version}"):
        assert patient_service.send("GET", path).json() == {
            "name": "teacher",
            "versions": [version],
            "platform": "pytorch",
            "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 3, 8, 8]}],
            "outputs": [
                {"name": "logits", "datatype": "FP32", "shape": [-1, 4]},
                {"name": "features.stage1", "datatype": "FP32", "shape": [-1, 16, 8, 8]},
                {"name": "features.stage2", "datatype": "FP32", "shape": [-1, 32, 4, 4]},
                {"name": "features.stage3", "datatype": "FP32", "shape": [-1, 64, 2, 2]},
                {"name": "features.pooled", "datatype": "FP32", "shape": [-1, 64]},
                {"name": "log_probabilities", "datatype": "FP32", "shape": [-1, 4]},
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 4]},
                {"name": "top_k", "datatype": "FP32", "shape": [-1, -1]},
                {"name": "top_k_indices", "datatype": "INT64", "shape": [-1, -1]},
                {"name": "label", "datatype": "INT64", "shape": [-1]},
            ],
            "parameters": {"max_batch_size": 8, "class_names": ["a", "b", "c", "d"]},
        }
        assert patient_service.send("GET", f"{path}/ready").status_code == 200


def test_health_follows_the_ledger(service: ServiceUnderTest) -> None:
    """Alive whatever happens; ready while queries can be counted. The ledger is asked once a second at most."""
    ready = ("/v2/health/ready", "/v2/models/teacher/ready")
    assert service.send("GET", "/v2/health/live").json() == {"live": True, "ready": True}
    assert [service.send("GET", path).status_code for path in ready] == [200, 200]
    with table_gone(service.ledger_path, "api_keys"):
        assert service.send("GET", "/v2/health/ready").status_code == 200
        service.clock.now += 1
        assert service.send("GET", "/v2/health/live").json() == {"live": True, "ready": False}
        for path in ready:
            assert_refused(service.send("GET", path), 503, "ledger-unavailable")
    service.clock.now += 1
    assert service.send("GET", "/v2/health/ready").json() == {"live": True, "ready": True}


def test_service_that_may_only_read_its_ledger_is_not_ready(service: ServiceUnderTest) -> None:
    """On a full disk, keys are read perfectly and nothing can be charged."""
    with writer_locked_out(service.ledger_path):
        assert_refused(service.send("GET", "/v2/health/ready"), 503, "ledger-unavailable")
    service.clock.now += 1
    assert service.send("GET", "/v2/health/ready").status_code == 200


def test_service_that_is_about_to_stop_is_not_ready_and_takes_no_query(service: ServiceUnderTest) -> None:
    service.app.state.service.query_runner.stop_admitting()
    assert service.send("GET", "/v2/health/live").json() == {"live": True, "ready": False}
    assert_refused(service.send("GET", "/v2/health/ready"), 503, "draining")
    assert_refused(service.infer(images(1)), 503, "draining")
    assert service.counts() == (0, 0)


FREE_PATHS = [
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/teacher",
    "/v2/models/teacher/ready",
    "/metrics",
]


@pytest.mark.parametrize("path", [*FREE_PATHS, "/v2/models/other/ready", "/v2/nowhere"])
def test_head_is_answered_as_get_without_the_body(patient_service: ServiceUnderTest, path: str) -> None:
    """Load balancers, `curl -I` and `wget --spider` send it."""
    get, head = (patient_service.send(method, path) for method in ("GET", "HEAD"))
    varying = {"x-request-id", "date"} | ({"content-length"} if path == "/metrics" else set())
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert {name: value for name, value in head.headers.items() if name not in varying} == {
        name: value for name, value in get.headers.items() if name not in varying
    }


def test_head_of_a_service_that_is_about_to_stop_says_so(service: ServiceUnderTest) -> None:
    service.app.state.service.query_runner.stop_admitting()
    assert [service.send("HEAD", f"/v2/health/{what}").status_code for what in ("live", "ready")] == [200, 503]


def test_head_where_get_is_not_allowed_is_rejected_and_costs_nothing(service: ServiceUnderTest) -> None:
    rejected = service.http.head("/v2/models/teacher/infer", headers=service.authorization)
    assert (rejected.status_code, rejected.headers["allow"]) == (405, "POST")
    assert service.send("POST", "/v2/health/live").headers["allow"] == "GET, HEAD"
    assert service.counts() == (0, 0)


def test_model_is_called_what_the_settings_say(weights: Path, tmp_path: Path) -> None:
    with start_service(weights, tmp_path, model_name="digits-1.0") as service:
        assert service.infer(images(1), path="/v2/models/digits-1.0/infer").status_code == 200
        assert_refused(service.infer(images(1)), 404, "unknown-model")
