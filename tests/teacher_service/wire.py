"""Requests written by hand, and what every refusal must look like."""

import json
from typing import Any

import httpx
import httpx2
import numpy as np


def assert_refused(
    response: httpx.Response | httpx2.Response, status: int, kind: str, media_type: str = "application/json"
) -> None:
    """A problem document with an `error` string, of the type that this path answers in, under a request id."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == media_type
    assert response.headers["x-request-id"]
    problem = response.json()
    assert problem["type"] == f"/problems/{kind}"
    assert problem["status"] == status
    assert isinstance(problem["error"], str)
    assert problem["error"] == problem["detail"] != ""


def request_head(**changes: Any) -> dict[str, Any]:
    """The head of a good request for two images, by hand."""
    tensor = {"name": "images", "shape": [2, 3, 8, 8], "datatype": "UINT8", "parameters": {"binary_data_size": 384}}
    return {"inputs": [tensor | changes], "outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}


def binary_request(head: object, payload: bytes = bytes(384)) -> tuple[bytes, dict[str, str]]:
    """Content and headers: the head as JSON, then the payload."""
    raw = json.dumps(head).encode()
    return raw + payload, {"Inference-Header-Content-Length": str(len(raw))}


def tensor_request(shape: list[int], datatype: str = "UINT8", itemsize: int = 1) -> tuple[bytes, dict[str, str]]:
    """A binary request of zeros in this shape."""
    size = int(np.prod(shape)) * itemsize
    return binary_request(
        request_head(shape=shape, datatype=datatype, parameters={"binary_data_size": size}), bytes(size)
    )


def json_request(pixels: list[Any], shape: list[int]) -> tuple[bytes, dict[str, str]]:
    """A request without a binary part."""
    tensor = {"name": "images", "shape": shape, "datatype": "UINT8", "data": pixels}
    return json.dumps({"inputs": [tensor]}).encode(), {}


GOOD, GOOD_HEADERS = binary_request(request_head())
"""A request that is paid for and answered; its payload are 384 zeros."""
