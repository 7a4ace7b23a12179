"""What a key may see, over HTTP: the derived outputs, and refusals of the others."""

import numpy as np
import pytest
from numpy.typing import NDArray

from shared import oip
from teacher_service.inference.derived_outputs import derive
from teacher_service.policy.key_terms import KeyTerms
from teacher_service.policy.output_policy import OutputPolicy
from tests.teacher_service.running_service import INFER, ServiceUnderTest, images
from tests.teacher_service.wire import assert_refused


def _seen(
    service: ServiceUnderTest, policy: str, outputs: list[str], *, samples: int = 3
) -> dict[str, NDArray[np.float32]]:
    key = service.app.state.service.keys.create(
        f"sees {policy}", 50, terms=KeyTerms(outputs=OutputPolicy.parse(policy))
    )
    body = oip.encode_request({"images": images(samples)}, outputs=outputs)
    headers = {"Authorization": f"Bearer {key.token}", **body.headers}
    answer = service.send("POST", INFER, headers, body.content)
    assert answer.status_code == 200, answer.text
    return oip.decode_response(answer.content, answer.headers.get(oip.HEADER_LENGTH))[1]


@pytest.mark.parametrize("binary", [True, False])
def test_each_derived_output_follows_from_the_logits(service: ServiceUnderTest, binary: bool) -> None:
    policy = OutputPolicy.parse("logits,log_probabilities,probabilities:2,top_k:2:3,label")
    key = service.app.state.service.keys.create("all", 50, terms=KeyTerms(outputs=policy))
    names = ["label", "logits", "top_k_indices", "top_k", "probabilities", "log_probabilities"]
    body = oip.encode_request({"images": images(3)}, outputs=names)
    content = body.content if binary else body.content.replace(b'"binary_data":true', b'"binary_data":false')
    length = str(int(body.headers[oip.HEADER_LENGTH]) + len(content) - len(body.content))
    headers = {"Authorization": f"Bearer {key.token}", oip.HEADER_LENGTH: length}
    answer = service.send("POST", INFER, headers, content)
    _, found = oip.decode_response(answer.content, answer.headers.get(oip.HEADER_LENGTH))
    assert list(found) == names
    expected = derive(found["logits"], tuple(names), policy)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype
    assert service.teacher.passes == [3]


def test_nothing_asked_is_the_most_telling_output(service: ServiceUnderTest) -> None:
    assert list(_seen(service, "label,top_k:2", [])) == ["top_k"]
    assert list(_seen(service, "label", [])) == ["label"]


@pytest.mark.parametrize("asked", ["logits", "log_probabilities", "features.pooled", "top_k_indices"])
def test_output_beyond_the_policy_is_refused_for_free(service: ServiceUnderTest, asked: str) -> None:
    policy = KeyTerms(outputs=OutputPolicy.parse("probabilities:3,label"))
    service.key = service.app.state.service.keys.create("little", 50, terms=policy)
    body = oip.encode_request({"images": images(3)}, outputs=["label", asked])
    refused = service.send("POST", INFER, {**service.authorization, **body.headers}, body.content)
    assert_refused(refused, 403, "output-not-allowed")
    assert "may see (probabilities:3,label)" in refused.json()["detail"]
    assert service.counts() == (0, 0)
    assert service.teacher.passes == []


def test_key_for_features_alone_must_name_them(service: ServiceUnderTest) -> None:
    assert _seen(service, "features.pooled", ["features.pooled"])["features.pooled"].shape == (3, 64)
    service.key = service.app.state.service.keys.create("f", 50, terms=KeyTerms(outputs=OutputPolicy.parse("features")))
    assert_refused(service.infer(images(1)), 403, "output-not-allowed")
    body = oip.encode_request({"images": images(1)}, outputs=[])
    assert_refused(
        service.send("POST", INFER, {**service.authorization, **body.headers}, body.content), 400, "invalid-request"
    )


def test_policy_widened_later_counts_at_once(service: ServiceUnderTest) -> None:
    """A refusal on remembered terms is looked into again before it is given."""
    keys = service.app.state.service.keys
    service.key = keys.create("grows", 50, terms=KeyTerms(outputs=OutputPolicy.parse("label")))
    assert service.infer(images(1)).status_code == 403
    keys.change(service.key.id, outputs=OutputPolicy.parse("logits"))
    assert service.infer(images(1)).status_code == 200
