"""The OpenAPI document, where a client has to rely on it."""

from typing import Any

import pytest

from teacher_service.errors.service_errors import QuotaExceeded, RateLimited
from tests.teacher_service.running_service import ServiceUnderTest

INFER = "/v2/models/{model}/infer"


@pytest.fixture
def document(service: ServiceUnderTest) -> dict[str, Any]:
    """The document of a running service."""
    found: dict[str, Any] = service.send("GET", "/openapi.json").json()
    return found


def test_refusals_are_our_own_alone(document: dict[str, Any]) -> None:
    """FastAPI's validation error, which never comes, is nowhere; each other status from 400 on is a problem."""
    assert "HTTPValidationError" not in str(document)
    for path, item in document["paths"].items():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    types = {"application/json", "application/problem+json"}
                    expected = types if path.startswith("/v2") else {"application/problem+json"}
                    assert response["content"].keys() == expected, (path, status)
                assert "X-Request-Id" in response["headers"]


def test_examples_are_what_the_classes_say(document: dict[str, Any]) -> None:
    too_many = document["paths"][INFER]["post"]["responses"]["429"]
    examples = too_many["content"]["application/json"]["examples"]
    assert examples["QuotaExceeded"]["value"] == QuotaExceeded.example().document()
    assert examples["RateLimited"]["value"] == RateLimited.example().document()
    assert {"Retry-After", "x-should-retry", "RateLimit", "RateLimit-Policy"} <= too_many["headers"].keys()


def test_request_of_infer_is_described(service: ServiceUnderTest, document: dict[str, Any]) -> None:
    operation = document["paths"][INFER]["post"]
    assert operation["security"] == [{"bearer": []}, {"apiKey": []}]
    assert document["components"]["securitySchemes"].keys() >= {"bearer", "apiKey"}
    headers = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"}
    assert headers == {"Idempotency-Key", "Inference-Header-Content-Length", "Content-Encoding"}
    body = operation["requestBody"]["content"]
    assert body.keys() == {"application/json", "application/octet-stream"}
    example = service.http.post("/v2/models/teacher/infer", json=body["application/json"]["example"])
    assert example.status_code == 401
    paid = service.http.post(
        "/v2/models/teacher/infer", json=body["application/json"]["example"], headers=service.authorization
    )
    assert paid.status_code == 200
    assert service.counts() == (1, 0)
