"""KServe's own client, unmodified, asks a service everything that it can ask. Run by the Python of .venv-kserve.

Usage: kserve_client.py URL KEY, with a key worth 6 samples. Prints what came as one JSON document.
"""

import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

IMAGES = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8)


async def ask(url: str, key: str) -> dict[str, Any]:
    """Every answer and every refusal, by name."""
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    headers = {"Authorization": f"Bearer {key}"}
    found: dict[str, Any] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model_ready": await client.is_model_ready(url, "teacher"),
    }
    for binary in (False, True):
        answer = await client.infer(url, _request(binary), "teacher", headers=dict(headers))
        found["binary" if binary else "json"] = {
            "id": answer.id,
            "model": answer.model_name,
            "logits": answer.outputs[0].as_numpy().tolist(),
        }
    found["exhausted"] = await _refusal(client.infer(url, _request(True), "teacher", headers=dict(headers)))
    found["unknown_model"] = await _refusal(client.infer(url, _request(True), "other", headers=dict(headers)))
    wrong = {"Authorization": "Bearer tk_wrong"}
    found["wrong_key"] = await _refusal(client.infer(url, _request(False), "teacher", headers=wrong))
    return found


def _request(binary: bool) -> InferRequest:
    images = InferInput("images", list(IMAGES.shape), "UINT8")
    images.set_data_from_numpy(IMAGES, binary_data=binary)
    wanted = RequestedOutput("logits", parameters={"binary_data": binary})
    return InferRequest("teacher", [images], request_id="7", request_outputs=[wanted])


async def _refusal(asked: Coroutine[Any, Any, Any]) -> str:
    try:
        await asked
    except httpx.HTTPStatusError as refused:
        return str(refused)
    return "it was answered"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(sys.argv[1], sys.argv[2]))))
