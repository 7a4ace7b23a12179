"""Our client against a server of another make, over real sockets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.buying.fetch import fetch
from distill_worker.buying.order import PurchaseOrder
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.errors import PlanRefused, TeacherChanged, TeacherError
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.oip import OipTeacher
from tests.distill_worker.purchases import cached_outputs, intend
from tests.endurance import HANG_SECONDS
from tests.foreign.oip_server import ForeignModel, served

LOG_OF = {1: 0.0, 2: 0.6931471805599453, 4: 1.3862943611198906}


def _predict(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Of probabilities 4/7, 2/7, 1/7, in an order that the first pixel says."""
    logits = np.array([[LOG_OF[4], LOG_OF[2], LOG_OF[1]]])
    return np.concatenate([np.roll(logits, int(image.flat[0]), axis=1) for image in images])


def _client(url: str, **options: Any) -> OipTeacher:
    sender = Sender(url, api_key=None, timeout_seconds=HANG_SECONDS, give_up_after_seconds=HANG_SECONDS)
    return OipTeacher(sender, model="classifier", **options)


EXPECTED: Mapping[str, NDArray[np.float32]] = {
    "logits": np.array([[LOG_OF[1], LOG_OF[4], LOG_OF[2]]], np.float32),
    "log_probabilities": np.log(np.array([[1 / 7, 4 / 7, 2 / 7]])).astype(np.float32),
    "probabilities": np.array([[1 / 7, 4 / 7, 2 / 7]], np.float32),
    "top_k:2": np.array([[[1, 4 / 7], [2, 2 / 7]]], np.float32),
    "label": np.array([[1]], np.float32),
}
IMAGE = np.array([[[[1, 0], [0, 0]]]], np.uint8)


@pytest.mark.parametrize("reads_binary", [True, False], ids=["binary", "JSON"])
def test_every_kind_is_offered_and_bought_in_one_request(reads_binary: bool) -> None:
    """Whether the server knows the binary extension or JSON alone."""
    model = ForeignModel(_predict, binary=reads_binary)
    with served(model) as url, _client(url) as teacher:
        description = teacher.describe()
        answer = teacher.buy(IMAGE, description=description, idempotency_key="k", outputs=tuple(EXPECTED))
    assert dict(description.outputs) == {kind: values.shape[1:] for kind, values in EXPECTED.items()}
    assert description.id == answer.teacher_id == f"{url}/classifier/1"
    assert not description.repeats_are_free
    for kind, values in EXPECTED.items():
        np.testing.assert_allclose(answer.outputs[kind], values, rtol=1e-6, err_msg=kind)
    assert model.was_binary == [reads_binary]
    assert model.charged == [1]


def test_json_can_be_asked_for_where_binary_is_offered() -> None:
    model = ForeignModel(_predict)
    with served(model) as url, _client(url, binary=False) as teacher:
        answer = teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k", outputs=("logits",))
    np.testing.assert_allclose(answer.outputs["logits"], EXPECTED["logits"], rtol=1e-6)
    assert model.was_binary == [False]


def test_tensors_of_other_names_are_named_in_the_configuration() -> None:
    model = ForeignModel(_predict, tensors=("logits",), input_name="INPUT__0", logits_name="OUTPUT__0")
    with served(model) as url:
        with _client(url) as teacher, pytest.raises(TeacherError, match=r"`images`.*teacher\.input_name"):
            teacher.describe()
        with _client(url, input_name="INPUT__0", logits_name="OUTPUT__0") as teacher:
            description = teacher.describe()
            answer = teacher.buy(IMAGE, description=description, idempotency_key="k")
    assert dict(description.outputs) == {"logits": (3,)}
    np.testing.assert_allclose(answer.outputs["logits"], EXPECTED["logits"], rtol=1e-6)


def test_label_alone_needs_the_number_of_classes() -> None:
    model = ForeignModel(_predict, tensors=("label",))
    with served(model) as url:
        with _client(url) as teacher, pytest.raises(TeacherError, match="num_classes"):
            teacher.describe()
        with _client(url, num_classes=3) as teacher:
            description = teacher.describe()
            answer = teacher.buy(IMAGE, description=description, idempotency_key="k", outputs=("label",))
    assert (description.num_classes, dict(description.outputs)) == (3, {"label": (1,)})
    assert answer.outputs["label"].tolist() == [[1]]


def test_model_without_versions_is_known_by_the_one_that_is_configured() -> None:
    with served(ForeignModel(_predict, version=None)) as url:
        with _client(url) as teacher, pytest.raises(TeacherError, match="model_version"):
            teacher.describe()
        with _client(url, model_version="june") as teacher:
            description = teacher.describe()
            answer = teacher.buy(IMAGE, description=description, idempotency_key="k")
    assert description.id == answer.teacher_id == f"{url}/classifier/june"


def test_version_that_answers_state_counts_also_if_the_server_lists_none(
    samples: Mapping[bytes, NDArray[np.uint8]], tmp_path: Path
) -> None:
    """So outputs of two versions never lie under the one configured name; and only one request is spent to see it."""
    model = ForeignModel(_predict, version=None, version_in_answers="7")
    with served(model) as url, Cache(tmp_path / "cache.sqlite") as cache:
        with _client(url, model_version="1") as teacher:
            order = PurchaseOrder(teacher, teacher.describe(), cache, samples, request_size=5, concurrency=3)
            with cache.buying() as buyer, pytest.raises(TeacherChanged, match=r"got one of .*/classifier/7: "):
                fetch(order, plan(order), samples, buyer=buyer)
            assert model.charged == [5]
            with pytest.raises(PlanRefused, match=r"got answers of .*/classifier/7 for 5 of these samples"):
                plan(order)
        with _client(url, model_version="7") as teacher:
            order = PurchaseOrder(teacher, teacher.describe(), cache, samples, request_size=5, concurrency=3)
            with cache.buying() as buyer:
                fetch(order, plan(order), samples, buyer=buyer)
        assert cache.streams("logits").keys() == {f"{url}/classifier/1", f"{url}/classifier/7"}
        assert len(cache.holdings(cache.stream(f"{url}/classifier/1", "logits"))) == 0
    assert sum(model.charged) == len(samples)


def test_outputs_under_a_configured_name_cost_a_word_before_they_are_bought_again(
    samples: Mapping[bytes, NDArray[np.uint8]], tmp_path: Path
) -> None:
    """Earlier versions of this program kept what a server without versions answered under the configured name."""
    model = ForeignModel(_predict, version=None, version_in_answers="7")
    with served(model) as url, Cache(tmp_path / "cache.sqlite") as cache:
        june = f"{url}/classifier/june"
        purchase = intend(cache, cache.order(june, ["logits"]), list(samples), payer="")
        cache.complete(purchase, {"logits": np.zeros((len(samples), 3), np.float32)})
        with _client(url, model_version="june") as teacher:
            assert plan(PurchaseOrder(teacher, teacher.describe(), cache, samples)).to_buy == ()
        with _client(url, model_version="7") as teacher:
            (held,) = plan(PurchaseOrder(teacher, teacher.describe(), cache, samples)).held_of_others
        assert (held.teacher_id, held.samples, held.may_be_the_same) == (june, len(samples), True)
    assert model.charged == []


def _of_versions(*versions: str) -> ForeignModel:
    return ForeignModel(_predict, version=versions[0], other_versions=versions[1:])


@pytest.mark.parametrize(
    ("versions", "latest"),
    [(("1", "2", "10", "9"), "10"), (("9", "10"), "10"), (("2", "v1"), "v1"), (("b", "a"), "a"), (("7",), "7")],
)
def test_latest_version_is_bought_by_default(versions: tuple[str, ...], latest: str) -> None:
    """The largest number, or the last in the list where one is no number."""
    model = _of_versions(*versions)
    with served(model) as url, _client(url) as teacher:
        answer = teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k")
    assert answer.teacher_id == f"{url}/classifier/{latest}"
    assert model.asked == [f"/v2/models/classifier/versions/{latest}/infer"]


@pytest.mark.parametrize("version", ["1", "9", "10"])
def test_configured_version_is_bought(version: str) -> None:
    model = _of_versions("1", "2", "10", "9")
    with served(model) as url, _client(url, model_version=version) as teacher:
        answer = teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k")
    assert answer.teacher_id == f"{url}/classifier/{version}"
    assert model.asked == [f"/v2/models/classifier/versions/{version}/infer"]


def test_configured_version_that_is_not_listed_is_an_error_before_a_call() -> None:
    model = _of_versions("1", "2", "10", "9")
    expected = r"expected version '3' .*teacher\.model_version .*lists 1, 2, 10, 9\. Nothing was spent"
    with (
        served(model) as url,
        _client(url, model_version="3") as teacher,
        pytest.raises(TeacherError, match=expected),
    ):
        teacher.describe()
    assert model.asked == []


def test_configured_version_that_goes_meanwhile_is_a_changed_teacher() -> None:
    model = _of_versions("1", "2")
    with served(model) as url, _client(url, model_version="1") as teacher:
        description = teacher.describe()
        model.version = "3"
        with pytest.raises(TeacherChanged, match=r"expected version 1 .*got version 3"):
            teacher.buy(IMAGE, description=description, idempotency_key="k")
    assert model.charged == []


def test_paid_answer_of_another_version_is_given_in_that_version_s_name() -> None:
    """So that it can be kept, and nothing more is bought in the wrong name."""
    with served(ForeignModel(_predict, version_in_answers="2")) as url, _client(url) as teacher:
        answer = teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k")
    assert answer.teacher_id == f"{url}/classifier/2"
    np.testing.assert_allclose(answer.outputs["logits"], EXPECTED["logits"], rtol=1e-6)


def test_version_that_is_gone_is_a_changed_teacher() -> None:
    """The message says both versions; nothing was charged."""
    model = ForeignModel(_predict)
    with served(model) as url, _client(url) as teacher:
        description = teacher.describe()
        model.version = "2"
        with pytest.raises(TeacherChanged, match=r"expected version 1 .*got version 2"):
            teacher.buy(IMAGE, description=description, idempotency_key="k")
    assert model.charged == []


def test_answer_that_was_lost_is_not_asked_for_again_where_that_would_cost_twice() -> None:
    model = ForeignModel(_predict, hang_up_after_paying=1)
    with served(model) as url, _client(url) as teacher:
        with pytest.raises(TeacherError, match="may have been charged"):
            teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k")
        assert model.charged == [1]


def test_configuration_may_say_that_repeats_are_free() -> None:
    model = ForeignModel(_predict, hang_up_after_paying=1)
    with served(model) as url, _client(url, repeats_are_free=True) as teacher:
        answer = teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k")
    assert model.charged == [1, 1]
    np.testing.assert_allclose(answer.outputs["logits"], EXPECTED["logits"], rtol=1e-6)


def test_a_whole_purchase_is_kept_and_paid_once(samples: Mapping[bytes, NDArray[np.uint8]], tmp_path: Path) -> None:
    kinds = ("label", "probabilities", "top_k:2")
    model = ForeignModel(_predict)
    with served(model) as url, _client(url) as teacher, Cache(tmp_path / "cache.sqlite") as cache:
        description = teacher.describe()
        for _ in range(2):
            order = PurchaseOrder(teacher, description, cache, samples, request_size=5, concurrency=3, kinds=kinds)
            with cache.buying() as buyer:
                fetch(order, plan(order), samples, buyer=buyer)
        held = {kind: cached_outputs(cache, cache.stream(description.id, kind), samples) for kind in kinds}
    assert sorted(model.charged) == [2, 5, 5]
    for key, image in samples.items():
        best = int(image.flat[0]) % 3
        assert held["label"][key].tolist() == [best]
        np.testing.assert_allclose(held["probabilities"][key], np.roll([4 / 7, 2 / 7, 1 / 7], best), rtol=1e-6)
        np.testing.assert_allclose(
            held["top_k:2"][key].reshape(2, 2), [[best, 4 / 7], [(best + 1) % 3, 2 / 7]], rtol=1e-6
        )
