"""NVIDIA's client for Triton, unmodified, against the service."""

from pathlib import Path

import numpy as np
import pytest

from teacher_service.teachers import TorchTeacher
from tests.end_to_end.conftest import StartService

triton = pytest.importorskip("tritonclient.http")

IMAGES = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8)


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_tritonclient_gets_the_teachers_logits(start_service: StartService, weights: Path, binary: bool) -> None:
    service = start_service()
    headers = {"Authorization": f"Bearer {service.create_key('triton', quota=3)}"}
    with triton.InferenceServerClient(service.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("teacher")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("teacher")
        assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 8, 8]}]
        assert metadata["outputs"][0] == {"name": "logits", "datatype": "FP32", "shape": [-1, 10]}

        images = triton.InferInput("images", list(IMAGES.shape), "UINT8")
        images.set_data_from_numpy(IMAGES, binary_data=binary)
        wanted = triton.InferRequestedOutput("logits", binary_data=binary)
        answer = client.infer("teacher", [images], outputs=[wanted], request_id="7", headers=headers)
        expected = TorchTeacher(weights, "cpu").predict(IMAGES)
        np.testing.assert_allclose(answer.as_numpy("logits"), expected, rtol=1e-5)
        assert answer.get_response()["id"] == "7"
        assert answer.get_response()["model_version"] == metadata["versions"][0]

        with pytest.raises(triton.InferenceServerException, match="0 of 3 remain"):
            client.infer("teacher", [images], headers=headers)
