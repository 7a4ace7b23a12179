"""What is made of a model's metadata and of its server's."""

import json
from typing import Any

import httpx
import pytest

from distill_worker.errors import TeacherError
from distill_worker.teachers.base import Description, Quota, Rate
from shared import oip
from tests.distill_worker.teachers.scripted_server import IMAGES, METADATA, OURS, URL, Server, describe, logits, refusal


def test_description_is_read_from_the_metadata() -> None:
    assert describe() == Description(
        "abc123", (3, 2, 2), 5, 16, {"logits": (5,), "label": (1,)}, input_datatype="UINT8", channels=3
    )


def test_outputs_that_could_not_be_kept_are_not_offered() -> None:
    """Whatever they look like, they are no reason to refuse the logits beside them."""
    features = {"name": "features.a", "datatype": "FP32", "shape": [-1, 8, 2, 2]}
    odd: list[dict[str, Any]] = [
        {"name": "boxes", "datatype": "FP32", "shape": [-1, -1, 4]},
        {"name": "label", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "index", "datatype": "INT64", "shape": [-1, 1]},
        {"name": "scores", "datatype": "FP32"},
    ]
    described = describe({**METADATA, "outputs": [*METADATA["outputs"][1:], features, *odd]})
    assert described.outputs == {"logits": (5,), "features.a": (8, 2, 2)}


@pytest.mark.parametrize("url", [URL, URL + "/"])
def test_version_that_is_no_fingerprint_is_bound_to_its_address(url: str) -> None:
    """Version 1 of another server is another teacher."""
    described = describe({**METADATA, "versions": ["1"]}, {"name": "triton", "extensions": []}, url=url)
    assert described.id == f"{URL}/m/1"
    server = Server(logits(version="1"))
    with server.teacher() as teacher:
        teacher.buy(IMAGES, description=described, idempotency_key="k1")
    assert server.requests[0].url.path == "/v2/models/m/versions/1/infer"


def test_another_number_of_class_names_is_left_to_the_comparison_with_the_data() -> None:
    """It names both lists, and `teacher.class_names` replaces what is stated."""
    assert describe({**METADATA, "parameters": {"class_names": ["ant", "bee"]}}).class_names == ("ant", "bee")
    assert describe({**METADATA, "parameters": {"class_names": []}}).class_names is None


def test_class_names_are_read_from_the_parameters() -> None:
    names = ["ant", "bee", "cow", "dog", "élan"]
    assert describe({**METADATA, "parameters": {"class_names": names}}).class_names == tuple(names)
    assert describe().class_names is None


@pytest.mark.parametrize("stated", ["ant bee", {"string_value": "ant"}, [1, 2, 3, 4, 5], None])
def test_class_names_in_another_form_count_as_not_stated(stated: object) -> None:
    assert describe({**METADATA, "parameters": {"class_names": stated}}).class_names is None


@pytest.mark.parametrize("parameters", [{}, {"max_batch_size": 0}, None])
def test_request_size_is_unlimited_when_the_teacher_does_not_say(parameters: dict[str, int] | None) -> None:
    assert describe({**METADATA, "parameters": parameters}).max_request_size is None


@pytest.mark.parametrize(
    "edit",
    [
        {"versions": []},
        {"versions": None},
        {"inputs": []},
        {"inputs": None},
        {"inputs": ["images"]},
        {"inputs": [{"name": "images", "shape": [-1, 784]}]},
        {"outputs": [{"name": "label", "shape": [-1]}]},
        {"outputs": [{"name": "logits", "shape": []}]},
        {"parameters": {"max_batch_size": "many"}},
    ],
    ids=json.dumps,
)
def test_metadata_of_another_kind_of_model_is_refused(edit: dict[str, Any]) -> None:
    with pytest.raises(TeacherError, match=f"{URL}: expected model 'm' to take `images`"):
        describe({**METADATA, **edit})


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(200, json=["v2"])])
def test_server_that_speaks_another_protocol_is_refused(answer: httpx.Response) -> None:
    with Server(answer).teacher() as teacher, pytest.raises(TeacherError, match=f"{URL}/v2: expected (a )?JSON"):
        teacher.describe()


def test_name_that_the_server_does_not_know_is_pointed_at() -> None:
    answers = [httpx.Response(200, json=OURS), refusal(404)]
    with (
        Server(*answers).teacher() as teacher,
        pytest.raises(TeacherError, match=r"404 .*check teacher\.model: .*got 'm'"),
    ):
        teacher.describe()


def test_quota_is_read() -> None:
    body = {"limit": 100, "used": 30, "reserved": 10, "remaining": 60}
    with Server(httpx.Response(200, json=body)).teacher() as teacher:
        assert teacher.quota() == Quota(100, 30, 60)


@pytest.mark.parametrize(("told", "features"), [(True, True), (False, False), (None, None), ("yes", None)])
def test_quota_says_whether_the_key_may_see_features(told: object, features: bool | None) -> None:
    body = {"limit": 100, "used": 30, "remaining": 60, "features": told}
    with Server(httpx.Response(200, json=body)).teacher() as teacher:
        assert teacher.quota() == Quota(100, 30, 60, features)


def test_quota_is_unknown_where_there_is_no_such_endpoint() -> None:
    with Server(refusal(404)).teacher() as teacher:
        assert teacher.quota() is None


HUGE = httpx.Response(200, content=b'{"limit": 1e400, "used": 0, "remaining": 0}')


@pytest.mark.parametrize(
    "answer", [refusal(401), httpx.Response(200, json={"quota": 5}), httpx.Response(200, json={"limit": None}), HUGE]
)
def test_unreadable_quota_is_an_error(answer: httpx.Response) -> None:
    with Server(answer).teacher() as teacher, pytest.raises(TeacherError, match=URL):
        teacher.quota()


def _of_ours(policy: object) -> Description:
    """What a key with this policy is offered by a service like ours."""
    names = {"logits": 5, "log_probabilities": 5, "probabilities": 5, "top_k": -1, "top_k_indices": -1}
    outputs = [{"name": name, "datatype": "FP32", "shape": [-1, size]} for name, size in names.items()]
    outputs += [{"name": "label", "datatype": "INT64", "shape": [-1]}]
    outputs += [{"name": f"features.{layer}", "datatype": "FP32", "shape": [-1, 8]} for layer in "ab"]
    body = {"limit": 1, "used": 0, "remaining": 1, "outputs": policy}
    answers = [httpx.Response(200, json=answer) for answer in (OURS, {**METADATA, "outputs": outputs}, body)]
    with Server(*answers).teacher() as teacher:
        return teacher.describe()


@pytest.mark.parametrize(
    ("policy", "offered"),
    [
        ("logits", {"logits": (5,)}),
        ("probabilities:3,top_k:2:4,label", {"probabilities:3": (5,), "top_k:2:4": (2, 2), "label": (1,)}),
        ("top_k:20", {"top_k:20": (5, 2)}),
        ("log_probabilities,features", {"log_probabilities": (5,), "features.a": (8,), "features.b": (8,)}),
        ("logits,features.b,features.z", {"logits": (5,), "features.b": (8,)}),
        ("attention,label", {"label": (1,)}),
        ("probabilities:99", {}),
    ],
)
def test_what_is_offered_is_what_the_key_may_see(policy: str, offered: dict[str, tuple[int, ...]]) -> None:
    """With the digits and the classes that it is told; a kind that is not known here is passed over."""
    described = _of_ours(policy)
    assert dict(described.outputs) == offered
    assert described.num_classes == 5


def test_what_the_model_does_not_have_is_not_offered_to_a_key_that_may_see_it() -> None:
    body = {"limit": 1, "used": 0, "remaining": 1, "outputs": "logits,probabilities,top_k:2"}
    with Server(*(httpx.Response(200, json=answer) for answer in (OURS, METADATA, body))).teacher() as teacher:
        assert dict(teacher.describe().outputs) == {"logits": (5,)}


@pytest.mark.parametrize("policy", [None, 5, ["logits"]])
def test_policy_that_is_not_told_leaves_what_the_model_offers(policy: object) -> None:
    """But for top_k, whose classes nothing says."""
    kinds = {"logits", "log_probabilities", "probabilities", "label", "features.a", "features.b"}
    assert set(_of_ours(policy).outputs) == kinds


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_server_without_quotas_is_described(status: int) -> None:
    """Triton answers 400 to a path that it does not have."""
    answers = [httpx.Response(200, json=OURS), httpx.Response(200, json=METADATA), httpx.Response(status)]
    with Server(*answers).teacher() as teacher:
        assert "logits" in teacher.describe().outputs
        assert teacher.quota() is None


@pytest.mark.parametrize("answer", [refusal(401), refusal(403), httpx.Response(200, text="<html>")])
def test_quota_that_cannot_be_read_is_an_error_at_once(answer: httpx.Response) -> None:
    """Without the key's id, its open purchases would look like those of another account."""
    with Server(httpx.Response(200, json=OURS), httpx.Response(200, json=METADATA), answer).teacher() as teacher:
        for read in (teacher.describe, teacher.quota):
            with pytest.raises(TeacherError, match=r"401|403|/v1/quota: expected JSON"):
                read()


@pytest.mark.parametrize(
    ("stated", "payer"),
    [("0a1b2c3d4e5f", "0a1b2c3d4e5f"), (None, ""), (7, ""), ("", ""), ("x" * 40, None), ("clé", None), ("a b", None)],
)
def test_payer_is_the_id_of_the_key_where_the_server_states_it(stated: object, payer: str | None) -> None:
    """A rotated secret is the same account; the hash of the secret is the account's name in earlier purchases."""
    body = {"limit": 1, "used": 0, "remaining": 1, "key_id": stated}
    with Server(*(httpx.Response(200, json=answer) for answer in (OURS, METADATA, body))).teacher() as teacher:
        of_secret = teacher.payer
        teacher.describe()
        assert teacher.credential == of_secret
        assert len(teacher.payer) <= 16
        if payer is None:
            assert teacher.payer not in (stated, of_secret)
        else:
            assert teacher.payer == (payer or of_secret)


@pytest.mark.parametrize(
    ("extensions", "configured", "free"),
    [
        ([oip.IDEMPOTENCY_EXTENSION], None, True),
        ([], None, False),
        ([], True, True),
        ([oip.IDEMPOTENCY_EXTENSION], False, False),
    ],
)
def test_repeats_are_free_where_the_server_or_the_configuration_says_so(
    extensions: list[str], configured: bool | None, free: bool
) -> None:
    described = describe(server={"name": "s", "extensions": extensions}, repeats_are_free=configured)
    assert described.repeats_are_free is free


def test_images_of_any_size_are_no_shape() -> None:
    taken = [{"name": "images", "datatype": "UINT8", "shape": [-1, 3, -1, -1]}]
    described = describe({**METADATA, "inputs": taken})
    assert (described.image_shape, described.channels, described.is_complete) == (None, 3, False)


def test_classes_that_are_left_open_come_from_the_configuration() -> None:
    """The outputs are sold all the same; the first answer shows whether the number is right."""
    outputs = [{"name": name, "datatype": "FP32", "shape": [-1, -1]} for name in ("logits", "probabilities", "boxes")]
    described = describe({**METADATA, "outputs": outputs}, num_classes=7)
    assert (described.num_classes, described.states_classes, described.is_complete) == (7, False, False)
    assert described.outputs == {"logits": (7,), "probabilities": (7,)}
    with pytest.raises(TeacherError, match="num_classes"):
        describe({**METADATA, "outputs": outputs})


def test_stated_classes_count_more_than_configured_ones() -> None:
    described = describe(num_classes=7)
    assert (described.num_classes, described.states_classes, described.is_complete) == (5, True, True)


def test_limit_of_nothing_a_minute_is_no_rate() -> None:
    """No time is long enough for it; the teacher itself says so when it is asked."""
    body = {"limit": 9, "used": 0, "remaining": 9, "samples_per_minute": {"limit": 0, "remaining": 0}}
    with Server(httpx.Response(200, json=body)).teacher() as teacher:
        quota = teacher.quota()
    assert quota is not None
    assert quota.seconds_for(5, 1) == 0.0


@pytest.mark.parametrize("extensions", [None, 5, "binary_tensor_data", {}])
def test_extensions_that_are_no_list_are_none(extensions: object) -> None:
    assert describe(server={"name": "odd", "extensions": extensions}).id == f"{URL}/m/abc123"


@pytest.mark.parametrize("versions", ["12", {"1": 1}, [None], [["1"]], ["9" * 5000]])
def test_versions_that_cannot_be_read_are_an_error(versions: object) -> None:
    with pytest.raises(TeacherError, match="expected model 'm'"):
        describe({**METADATA, "versions": versions})


def test_rates_are_read_from_the_quota() -> None:
    bucket = {"limit": 600, "remaining": 500, "whole_in_seconds": 10.0}
    body = {"limit": 9, "used": 0, "remaining": 9, "samples_per_minute": bucket, "requests_per_minute": None}
    with Server(httpx.Response(200, json=body)).teacher() as teacher:
        quota = teacher.quota()
    assert quota is not None
    assert quota.rates == (Rate("samples", 600, 500),)
