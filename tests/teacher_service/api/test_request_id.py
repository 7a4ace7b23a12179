"""Every answer carries a request id, whatever became of the request."""

import re

import pytest

from tests.teacher_service.running_service import ServiceUnderTest
from tests.teacher_service.wire import assert_refused


@pytest.mark.parametrize(
    ("offered", "kept"),
    [("run-1.step_2", True), ("x" * 64, True), ("x" * 65, False), ("two words", False), ("a;b", False), ("", False)],
)
def test_request_id_is_the_callers_when_it_is_a_plain_word(
    patient_service: ServiceUnderTest, offered: str, kept: bool
) -> None:
    found = patient_service.send("GET", "/v2", {"X-Request-Id": offered}).headers["x-request-id"]
    assert found == offered if kept else re.fullmatch("[0-9a-f]{16}", found)


def test_request_id_is_on_every_answer_and_never_the_same(patient_service: ServiceUnderTest) -> None:
    paths = ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/teacher", "/v1/quota", "/nowhere"]
    found = [patient_service.send("GET", path).headers["x-request-id"] for path in paths]
    assert len(set(found)) == len(paths)


def test_crash_is_answered_like_any_other_refusal(service: ServiceUnderTest) -> None:
    """A defect of the service tells the client nothing of its insides, but a request id to report it by."""

    def crash() -> None:
        raise RuntimeError("secret of the house")

    service.app.add_api_route("/v2/crash", crash)
    response = service.send("GET", "/v2/crash", {"X-Request-Id": "run-1"})
    assert "secret" not in response.text
    assert_refused(response, 500, "internal-error")
    assert response.headers["x-request-id"] == "run-1"
