"""NVIDIA's clients for Triton, unmodified, against the service."""

import asyncio
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from teacher_service.models import TorchTeacher
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService

triton = pytest.importorskip("tritonclient.http")
triton_aio = pytest.importorskip("tritonclient.http.aio")

IMAGES = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8)
COMPRESSIONS = [
    {},
    {"request_compression_algorithm": "gzip"},
    {"request_compression_algorithm": "deflate"},
    {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"},
]


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_tritonclient_gets_the_teachers_logits(one_service: RunningService, weights: Path, binary: bool) -> None:
    service, headers = _client_of(one_service, quota=3)
    with triton.InferenceServerClient(_address(service)) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("teacher")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("teacher")
        assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 8, 8]}]
        assert metadata["outputs"][0] == {"name": "logits", "datatype": "FP32", "shape": [-1, 10]}

        wanted = triton.InferRequestedOutput("logits", binary_data=binary)
        answer = client.infer("teacher", [_images(binary)], outputs=[wanted], request_id="7", headers=headers)
        np.testing.assert_allclose(answer.as_numpy("logits"), _logits(weights), rtol=1e-5)
        assert answer.get_response()["id"] == "7"
        assert answer.get_response()["model_version"] == metadata["versions"][0]

        with pytest.raises(triton.InferenceServerException, match="0 of 3 remain"):
            client.infer("teacher", [_images(binary)], headers=headers)


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=lambda chosen: "+".join(chosen.values()) or "plain")
@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_tritonclient_may_compress(
    one_service: RunningService, weights: Path, binary: bool, compression: dict[str, str]
) -> None:
    """Bodies are inflated; an answer that may come compressed comes as it is."""
    service, headers = _client_of(one_service, quota=3)
    with triton.InferenceServerClient(_address(service)) as client:
        answer = client.infer("teacher", [_images(binary)], headers=headers, **compression)
    np.testing.assert_allclose(answer.as_numpy("logits"), _logits(weights), rtol=1e-5)


def test_tritonclient_understands_each_refusal(one_service: RunningService) -> None:
    service, headers = _client_of(one_service, quota=2)
    refused = {
        "429": ("3 samples, but 2 of 2 remain", {"model_name": "teacher", "headers": headers}),
        "404": ("expected 'teacher', got 'other'", {"model_name": "other", "headers": headers}),
        "401": (
            "unknown, revoked or expired",
            {"model_name": "teacher", "headers": {"Authorization": "Bearer tk_wrong"}},
        ),
        "400": (
            "outputs: expected names",
            {"model_name": "teacher", "headers": headers, "outputs": [_output("scores")]},
        ),
    }
    with triton.InferenceServerClient(_address(service)) as client:
        for status, (message, arguments) in refused.items():
            with pytest.raises(triton.InferenceServerException, match=message) as refusal:
                client.infer(inputs=[_images(True)], **arguments)
            assert refusal.value.status() == status
        with pytest.raises(triton.InferenceServerException, match="expected 'teacher'"):
            client.get_model_metadata("other")


def test_tritonclient_reads_the_statistics(start_service: StartService) -> None:
    service, headers = _client_of(start_service(), quota=3)
    with triton.InferenceServerClient(_address(service)) as client:
        client.infer("teacher", [_images(True)], headers=headers)
        for found in (client.get_inference_statistics(), client.get_inference_statistics("teacher")):
            (model,) = found["model_stats"]
            assert (model["name"], model["inference_count"]) == ("teacher", 3)
            assert model["inference_stats"]["success"]["count"] == 1


def test_asynchronous_tritonclient_gets_the_same(start_service: StartService, weights: Path) -> None:
    service, headers = _client_of(start_service(), quota=6)

    async def ask() -> None:
        async with triton_aio.InferenceServerClient(_address(service)) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("teacher")
            assert (await client.get_model_metadata("teacher"))["name"] == "teacher"
            for binary in (False, True):
                compressed = {"headers": dict(headers), "request_compression_algorithm": "gzip"}  # it writes into them
                answer = await client.infer("teacher", [_images(binary)], **compressed)
                np.testing.assert_allclose(answer.as_numpy("logits"), _logits(weights), rtol=1e-5)
            (model,) = (await client.get_inference_statistics("teacher"))["model_stats"]
            assert model["inference_count"] == 6
            with pytest.raises(triton.InferenceServerException, match="0 of 6 remain"):
                await client.infer("teacher", [_images(True)], headers=headers)

    asyncio.run(ask())


def _client_of(service: RunningService, quota: int) -> tuple[RunningService, dict[str, str]]:
    key = service.new_key(f"triton {secrets.token_hex(4)}", quota)
    return service, {"Authorization": f"Bearer {key.token}"}


def _address(service: RunningService) -> str:
    return service.url.removeprefix("http://")


def _images(binary: bool) -> Any:
    images = triton.InferInput("images", list(IMAGES.shape), "UINT8")
    images.set_data_from_numpy(IMAGES, binary_data=binary)
    return images


def _output(name: str) -> Any:
    return triton.InferRequestedOutput(name)


def _logits(weights: Path) -> Any:
    return TorchTeacher(weights, "cpu").predict(IMAGES)
