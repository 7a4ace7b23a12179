"""What is refused at the wire: with which status, in which form, and always for free."""

import pytest

from tests.teacher_service.ledger_file import counts, rows
from tests.teacher_service.running_service import INFER, ServiceUnderTest, images
from tests.teacher_service.wire import (
    GOOD,
    GOOD_HEADERS,
    assert_refused,
    binary_request,
    json_request,
    request_head,
    tensor_request,
)

_MALFORMED = {
    "dtype_float": tensor_request([2, 3, 8, 8], "FP32", 4),
    "dtype_signed": tensor_request([2, 3, 8, 8], "INT8"),
    "dtype_unknown": tensor_request([2, 3, 8, 8], "BYTES"),
    "height": tensor_request([2, 3, 9, 8]),
    "width": tensor_request([2, 3, 8, 7]),
    "channels_one": tensor_request([2, 1, 8, 8]),
    "channels_last": tensor_request([2, 8, 8, 3]),
    "one_image_without_a_batch": tensor_request([3, 8, 8]),
    "flat": tensor_request([2, 192]),
    "five_axes": tensor_request([1, 2, 3, 8, 8]),
    "hundred_axes": tensor_request([1] * 96 + [2, 3, 8, 8]),
    "huge_axis": binary_request(request_head(shape=[0, 2**70, 8, 8], parameters={"binary_data_size": 0}), b""),
    "no_samples": tensor_request([0, 3, 8, 8]),
    "too_many_samples": tensor_request([9, 3, 8, 8]),
    "negative_samples": binary_request(request_head(shape=[-2, 3, 8, 8])),
    "other_input": binary_request(request_head(name="pixels")),
    "no_input": binary_request({"inputs": []}, b""),
    "extra_input": binary_request(
        {"inputs": [*request_head()["inputs"], {"name": "b", "shape": [1], "datatype": "BOOL", "data": [True]}]}
    ),
    "unknown_output": binary_request(request_head() | {"outputs": [{"name": "features.2"}]}),
    "unknown_output_beside_a_known": binary_request(
        request_head() | {"outputs": [{"name": "logits"}, {"name": "labels"}]}
    ),
    "binary_flag": binary_request(request_head() | {"parameters": {"binary_data_output": "yes"}, "outputs": []}),
    "binary_cut_short": (GOOD[:-1], GOOD_HEADERS),
    "binary_missing": (GOOD[:-384], GOOD_HEADERS),
    "binary_too_long": (GOOD + b"\x00", GOOD_HEADERS),
    "binary_size_lies": binary_request(request_head(parameters={"binary_data_size": 383})),
    "json_value_too_large": json_request([256] * 384, [2, 3, 8, 8]),
    "json_value_negative": json_request([-1] * 384, [2, 3, 8, 8]),
    "json_fractions": json_request([0.5] * 384, [2, 3, 8, 8]),
    "json_too_few": json_request([1] * 383, [2, 3, 8, 8]),
    "json_ragged": json_request([[1], [1, 2]], [2, 3, 8, 8]),
    "no_body": (b"", {}),
    "no_json": (b"images, please", {}),
    "no_object": (b"[1, 2]", {}),
    "not_unicode": (b'{"inputs": "\xff\xfe"}', {}),
    "bottomless": (b"[" * 8000, {}),
    "header_length_missing": (GOOD, {}),
    "header_length_zero": (GOOD, {"Inference-Header-Content-Length": "0"}),
    "header_length_short": (GOOD, {"Inference-Header-Content-Length": "17"}),
    "header_length_one_off": (GOOD, {"Inference-Header-Content-Length": str(len(GOOD) - 384 + 1)}),
    "header_length_of_all": (GOOD, {"Inference-Header-Content-Length": str(len(GOOD))}),
    "header_length_beyond": (GOOD, {"Inference-Header-Content-Length": str(len(GOOD) + 1)}),
    "header_length_huge": (GOOD, {"Inference-Header-Content-Length": "9" * 400}),
    "header_length_negative": (GOOD, {"Inference-Header-Content-Length": "-1"}),
    "header_length_garbage": (GOOD, {"Inference-Header-Content-Length": "a lot"}),
    "header_length_empty": (GOOD, {"Inference-Header-Content-Length": ""}),
    "idempotency_key_empty": (GOOD, GOOD_HEADERS | {"Idempotency-Key": ""}),
    "idempotency_key_quoted_empty": (GOOD, GOOD_HEADERS | {"Idempotency-Key": '""'}),
    "idempotency_key_long": (GOOD, GOOD_HEADERS | {"Idempotency-Key": "k" * 256}),
    "idempotency_key_tab": (GOOD, GOOD_HEADERS | {"Idempotency-Key": "a\tb"}),
}
_REFUSED = {name: (*request, 400, "invalid-request") for name, request in _MALFORMED.items()} | {
    "body_too_large": (GOOD + bytes(8193 - len(GOOD)), GOOD_HEADERS, 413, "body-too-large"),
    "gzip_that_is_none": (GOOD, GOOD_HEADERS | {"Content-Encoding": "gzip"}, 400, "invalid-request"),
    "unknown_encoding": (GOOD, GOOD_HEADERS | {"Content-Encoding": "rot13"}, 415, "unsupported-encoding"),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_bad_request_is_refused_and_costs_nothing(patient_service: ServiceUnderTest, name: str) -> None:
    """Nothing is charged, held or logged, and the model does not hear of it."""
    content, headers, status, kind = _REFUSED[name]
    assert_refused(patient_service.send("POST", INFER, patient_service.authorization | headers, content), status, kind)
    assert patient_service.counts() == (0, 0)
    assert rows(patient_service.ledger_path, "SELECT * FROM queries") == []
    assert patient_service.teacher.passes == []


def test_good_request_of_these_tests_is_good(service: ServiceUnderTest) -> None:
    """Else the refusals above would prove nothing; a body of exactly the limit is read to its end."""
    for headers in ({}, {"Content-Encoding": "identity"}, {"Idempotency-Key": "k" * 255}):
        response = service.send("POST", INFER, service.authorization | GOOD_HEADERS | headers, GOOD)
        assert response.status_code == 200
    full = service.send("POST", INFER, service.authorization | GOOD_HEADERS, GOOD + bytes(8192 - len(GOOD)))
    assert full.status_code == 400
    assert service.counts() == (6, 0)


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic dTpw"},
        {"Authorization": "Bearer tk_000000000000_" + "0" * 64},
        {"Authorization": "Bearer nonsense"},
        {"X-API-Key": "tk_000000000000_" + "0" * 64},
        {"X-API-Key": ""},
    ],
    ids=str,
)
def test_missing_or_unknown_key_is_refused(patient_service: ServiceUnderTest, credentials: dict[str, str]) -> None:
    for response, media_type in (
        (patient_service.send("POST", INFER, credentials | GOOD_HEADERS, GOOD), "application/json"),
        (patient_service.send("GET", "/v1/quota", credentials), "application/problem+json"),
    ):
        assert_refused(response, 401, "unauthorized", media_type)
        assert response.headers["www-authenticate"].startswith("Bearer ")
    assert patient_service.teacher.passes == []


def test_revoked_key_is_refused_from_the_next_request_on(service: ServiceUnderTest) -> None:
    """Its replays too; what it bought stays charged."""
    assert service.infer(images(1), {"Idempotency-Key": "i"}).status_code == 200
    service.app.state.service.keys.revoke(service.key.id)
    for headers in ({}, {"Idempotency-Key": "i"}):
        assert_refused(service.infer(images(1), headers), 401, "unauthorized")
    assert counts(service.ledger_path, service.key.id) == (1, 0)


@pytest.mark.parametrize("path", ["/v2/models/pupil", "/v2/models/teacher/versions/0123456789abcdef"])
@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("GET", "/ready"), ("POST", "/infer")])
def test_unknown_model_or_version_is_refused(
    patient_service: ServiceUnderTest, path: str, method: str, suffix: str
) -> None:
    response = patient_service.send(method, path + suffix, patient_service.authorization | GOOD_HEADERS, GOOD)
    assert_refused(response, 404, "unknown-model")
    assert patient_service.counts() == (0, 0)


@pytest.mark.parametrize(
    ("method", "path", "accept", "status", "kind", "media_type"),
    [
        ("GET", "/v2/nowhere", "*/*", 404, "not-found", "application/json"),
        ("GET", "/v1/nowhere", "*/*", 404, "not-found", "application/problem+json"),
        ("GET", INFER, "*/*", 405, "method-not-allowed", "application/json"),
        ("POST", "/v1/quota", "*/*", 405, "method-not-allowed", "application/problem+json"),
        ("GET", "/v2/models/pupil", "application/problem+json", 404, "unknown-model", "application/problem+json"),
    ],
)
def test_refusal_is_typed_for_the_client_of_its_path(
    patient_service: ServiceUnderTest, method: str, path: str, accept: str, status: int, kind: str, media_type: str
) -> None:
    """KServe's client parses nothing but application/json, so /v2 answers in it unless asked otherwise."""
    assert_refused(patient_service.send(method, path, {"Accept": accept}), status, kind, media_type)


@pytest.mark.parametrize("name", ["unknown_output", "body_too_large"])
def test_quota_headers_come_with_a_refusal_too(patient_service: ServiceUnderTest, name: str) -> None:
    """DESIGN.md section 3: on every answer (that has a key to speak of)."""
    content, headers, _, _ = _REFUSED[name]
    response = patient_service.send("POST", INFER, patient_service.authorization | headers, content)
    assert response.headers["ratelimit-policy"] == '"quota";q=100;qu="samples"'
    assert response.headers["ratelimit"] == '"quota";r=100'
