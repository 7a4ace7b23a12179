"""Intermediate features: for keys that may see them, at one call a sample, and free to be refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shared import oip
from shared.networks.taps import forward_with_features
from shared.normalise import normalise
from shared.weights import load_weights
from teacher_service.inference.batcher import Images
from teacher_service.policy.key_terms import KeyTerms
from teacher_service.policy.output_policy import OutputPolicy
from tests.teacher_service.running_service import INFER, ServiceUnderTest, images
from tests.teacher_service.wire import assert_refused

SEEING = KeyTerms(outputs=OutputPolicy.parse("logits,features"))
WANTED = ("features.pooled", "logits", "features.stage2")


@pytest.fixture
def seeing(service: ServiceUnderTest) -> dict[str, str]:
    """The headers of a key that may see features."""
    key = service.app.state.service.keys.create("seeing", 50, terms=SEEING)
    return {"Authorization": f"Bearer {key.token}"}


def _ask(
    service: ServiceUnderTest, pixels: Images, headers: dict[str, str], outputs: tuple[str, ...] = WANTED
) -> tuple[int, dict[str, NDArray[np.float32]]]:
    body = oip.encode_request({"images": pixels}, outputs=outputs)
    response = service.send("POST", INFER, {**body.headers, **headers}, body.content)
    if response.status_code != 200:
        return response.status_code, {}
    _, tensors = oip.decode_response(response.content, response.headers.get(oip.HEADER_LENGTH))
    return 200, tensors


def test_features_are_the_networks_own_and_come_in_the_order_asked(
    service: ServiceUnderTest, seeing: dict[str, str], weights: Path
) -> None:
    pixels = images(3)
    status, answered = _ask(service, pixels, seeing)
    card, network, _ = load_weights(weights)
    with torch.inference_mode():
        logits, features = forward_with_features(
            network, normalise(torch.from_numpy(pixels), card.mean, card.std), ["pooled", "stage2"]
        )
    assert status == 200
    assert list(answered) == list(WANTED)
    np.testing.assert_array_equal(answered["logits"], logits.numpy())
    np.testing.assert_array_equal(answered["features.pooled"], features["pooled"].numpy())
    np.testing.assert_array_equal(answered["features.stage2"], features["stage2"].numpy())
    assert answered["features.stage2"].shape == (3, 32, 4, 4)


def test_sample_costs_one_call_whatever_is_asked_of_it(service: ServiceUnderTest, seeing: dict[str, str]) -> None:
    _ask(service, images(3), seeing)
    _ask(service, images(4), seeing, ("logits",))
    quota = service.send("GET", "/v1/quota", seeing).json()
    assert (quota["used"], quota["reserved"], quota["features"]) == (7, 0, True)


def test_key_that_may_not_see_them_is_refused_for_free(service: ServiceUnderTest) -> None:
    body = oip.encode_request({"images": images(2)}, outputs=["logits", "features.stage2"])
    refused = service.send("POST", INFER, {**body.headers, **service.authorization}, body.content)
    assert_refused(refused, 403, "output-not-allowed")
    assert "keys create --features" in refused.json()["detail"]
    assert service.counts() == (0, 0)
    assert service.quota()["features"] is False
    assert service.teacher.passes == []


def test_unknown_layer_is_a_bad_request_for_everyone(service: ServiceUnderTest, seeing: dict[str, str]) -> None:
    assert _ask(service, images(1), seeing, ("features.stage9",))[0] == 400
    assert _ask(service, images(1), service.authorization, ("features.stage9",))[0] == 400


def test_nothing_asked_is_logits_alone(service: ServiceUnderTest, seeing: dict[str, str]) -> None:
    assert list(_ask(service, images(1), seeing, ())[1]) == ["logits"]


def test_repetition_is_free_and_other_outputs_are_another_request(
    service: ServiceUnderTest, seeing: dict[str, str]
) -> None:
    once = {**seeing, "Idempotency-Key": "once"}
    first, again = (_ask(service, images(2), once) for _ in range(2))
    assert first[0] == again[0] == 200
    assert all(np.array_equal(first[1][output], again[1][output]) for output in WANTED)
    assert _ask(service, images(2), once, ("logits",))[0] == 422
    assert service.send("GET", "/v1/quota", seeing).json()["used"] == 2


def test_metadata_list_every_output_with_its_shape(service: ServiceUnderTest) -> None:
    outputs = service.send("GET", "/v2/models/teacher").json()["outputs"]
    offered = {output["name"]: output["shape"] for output in outputs}
    assert {name: shape for name, shape in offered.items() if name == "logits" or name.startswith("features.")} == {
        "logits": [-1, 4],
        "features.stage1": [-1, 16, 8, 8],
        "features.stage2": [-1, 32, 4, 4],
        "features.stage3": [-1, 64, 2, 2],
        "features.pooled": [-1, 64],
    }
