"""Our client against an image API of another make, over real sockets; and its answers that cannot be kept."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.buying.fetch import fetch
from distill_worker.buying.order import PurchaseOrder
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache, RawAnswer
from distill_worker.errors import AnswerUnread, TeacherError, TeacherRefused
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.vendors.labelled_scores import LabelledScoresTeacher
from tests.distill_worker.purchases import cached_outputs
from tests.distill_worker.teachers.scripted_server import URL, Server
from tests.distill_worker.teachers.vendors.clients import labelled_scores
from tests.endurance import HANG_SECONDS
from tests.foreign.labelled_scores_server import ForeignScores, served

LABELS = {"cat": 0, "dog": 1, "newt": 4}
MEANING = "268e9a1095e1"
"""Classes 2 and 3 have no label."""
IMAGE = np.array([[[[7, 0], [0, 0]]]], np.uint8)


def _predict(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """In an order that the first pixel says."""
    return np.roll([0.5, 0.3125, 0.1875], int(image.flat[0]))


def _client(url: str, **options: Any) -> LabelledScoresTeacher:
    sender = Sender(url, api_key="secret", timeout_seconds=HANG_SECONDS, give_up_after_seconds=HANG_SECONDS)
    return labelled_scores(sender, url=url, model="pets", labels=LABELS, **{"top_k": 2, **options})


def test_what_is_offered_follows_from_the_configuration_alone() -> None:
    """Nothing is asked: whatever such a teacher answers costs."""
    with _client("http://127.0.0.1:1/classify", model_version="june") as teacher:
        description = teacher.describe()
        assert teacher.quota() is None
        assert teacher.queries() is None
    assert description.id == f"http://127.0.0.1:1/classify/pets/june/{MEANING}"
    assert dict(description.outputs) == {"top_k:2": (2, 2)}
    assert (description.image_shape, description.max_request_size, description.num_classes) == (None, 1, 5)
    assert not description.repeats_are_free


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"top_k": 5}, "top_k:3"), ({"top_k": 1}, "top_k:1"), ({"top_k": 2, "score_digits": 2}, "top_k:2:2")],
)
def test_kind_says_how_many_labels_and_digits(options: dict[str, int], kind: str) -> None:
    """No more labels than there are."""
    with _client(URL, **options) as teacher:
        assert list(teacher.describe().outputs) == [kind]


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "RGB"])
def test_image_arrives_as_it_is_and_the_likeliest_classes_come_back(channels: int) -> None:
    """As a PNG file, under the account's key and the Idempotency-Key."""
    image = np.random.default_rng(0).integers(0, 256, (1, channels, 5, 4), dtype=np.uint8)
    seen: list[NDArray[np.uint8]] = []

    def look(image: NDArray[np.uint8]) -> NDArray[np.float64]:
        seen.append(image)
        return np.array([0.25, 0.125, 0.625])

    model = ForeignScores(look, told=3)
    with served(model) as url, _client(url) as teacher:
        answer = teacher.buy(image, description=teacher.describe(), idempotency_key="k1", outputs=("top_k:2",))
    assert np.array_equal(seen[0], image[0])
    assert answer.outputs["top_k:2"].dtype == np.float32
    assert answer.outputs["top_k:2"].tolist() == [[[4, 0.625], [0, 0.25]]]
    assert answer.teacher_id == f"{url}/pets/unversioned/{MEANING}"
    assert model.keys == ['"k1"']


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (1, 4, 4, 4), (2, 3, 4, 4)], ids=["two", "four", "two images"])
def test_image_that_no_file_holds_is_refused_before_anything_is_bought(shape: tuple[int, ...]) -> None:
    server = Server(httpx.Response(500))
    with labelled_scores(server.sender(), url=URL, model="pets", labels=LABELS) as teacher:
        images, described = np.zeros(shape, np.uint8), teacher.describe()
        with pytest.raises(TeacherRefused, match=r"grey or RGB.*nothing was sent"):
            teacher.buy(images, description=described, idempotency_key="k", outputs=("top_k:3",))
    assert server.requests == []


def test_logits_are_not_for_sale() -> None:
    server = Server(httpx.Response(500))
    with labelled_scores(server.sender(), url=URL, model="pets", labels=LABELS) as teacher:
        described = teacher.describe()
        with pytest.raises(TeacherRefused, match="which is all that this teacher sells"):
            teacher.buy(IMAGE, description=described, idempotency_key="k", outputs=("logits",))
    assert server.requests == []


def test_answer_of_another_version_is_given_in_that_version_s_name() -> None:
    model = ForeignScores(_predict, version="july")
    with served(model) as url, _client(url, model_version="june") as teacher:
        description = teacher.describe()
        answer = teacher.buy(IMAGE, description=description, idempotency_key="k", outputs=("top_k:2",))
    assert (description.id, answer.teacher_id) == (f"{url}/pets/june/{MEANING}", f"{url}/pets/july/{MEANING}")


def test_model_that_is_being_loaded_is_waited_for() -> None:
    """It says for how long, and charged nothing."""
    model = ForeignScores(_predict, loading=2)
    with served(model) as url, _client(url) as teacher:
        answer = teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k", outputs=("top_k:2",))
    assert answer.outputs["top_k:2"].tolist() == [[[1, 0.5], [4, 0.3125]]]
    assert model.charged == 1


@pytest.mark.parametrize("page", [b"<html><title>Log in</title><body>secret</body></html>", b"[" * 200_000])
def test_answer_that_is_no_json_is_shown_in_short(page: bytes) -> None:
    raw = RawAnswer(page, {}, "", "")
    with _client("http://vendor.test") as teacher:
        described = teacher.describe()
        with pytest.raises(AnswerUnread, match=r"http://vendor\.test") as raised:
            teacher.read(raw, samples=1, description=described, idempotency_key="k", outputs=("top_k:2",))
    assert "secret" not in str(raised.value)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(("free", "charged"), [(False, 1), (True, 2)])
def test_answer_that_was_lost_is_asked_for_again_only_where_that_is_free(free: bool, charged: int) -> None:
    """As the configuration says; this server would charge again in truth."""
    model = ForeignScores(_predict, hang_up_after_paying=1)
    with served(model) as url, _client(url, repeats_are_free=free) as teacher:
        expected = nullcontext() if free else pytest.raises(TeacherError, match="may have been charged")
        described = teacher.describe()
        with expected:
            teacher.buy(IMAGE, description=described, idempotency_key="k", outputs=("top_k:2",))
    assert model.charged == charged


def _told(*scores: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"label": label, "score": score} for label, score in scores]


@pytest.mark.parametrize(
    ("body", "because"),
    [
        (_told(("cat", 0.5), ("lynx", 0.25)), r"a label of \[teacher.labels\], got 'lynx'"),
        (_told(("cat", 0.5), (["cat"], 0.25)), "a label of"),
        (_told(("cat", 0.5)), r"expected 2 labels or more \(teacher.top_k\), got 1"),
        ([], "expected 2 labels or more"),
        (_told(("cat", 0.5), ("cat", 0.25)), "got 'cat' twice"),
        (_told(("cat", 0.5), ("dog", -0.1)), "from 0 to 1"),
        (_told(("cat", 1.5), ("dog", 0.1)), "from 0 to 1"),
        (_told(("cat", 10**400), ("dog", 0.1)), "from 0 to 1"),
        (_told(("cat", 0.5), ("dog", float("nan"))), "from 0 to 1"),
        (_told(("cat", 0.5), ("dog", "0.1")), "from 0 to 1"),
        (_told(("cat", 0.5), ("dog", True)), "from 0 to 1"),
        (_told(("cat", 0.5), ("dog", None)), "from 0 to 1"),
        (_told(("cat", 0.9), ("dog", 0.8)), "add up to 1 at most, got 1.7"),
        ({"error": "busy"}, "expected a list"),
        (["cat", "dog"], "expected a list"),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_answer_that_cannot_be_kept_is_refused(body: Any, because: str) -> None:
    """It may have been charged, so it is no `TeacherRefused`, and it is asked for once."""
    server = Server(httpx.Response(200, content=json.dumps(body)))
    with labelled_scores(server.sender(), url=URL, model="pets", labels=LABELS) as teacher:
        described = teacher.describe()
        with pytest.raises(TeacherError, match=f"{URL}.*{because}") as raised:
            teacher.buy(IMAGE, description=described, idempotency_key="k", outputs=("top_k:2",))
    assert not isinstance(raised.value, TeacherRefused)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("digits", "kept"), [(1, True), (2, True), (3, False), (None, True)])
def test_scores_may_add_up_to_more_than_one_by_rounding_alone(digits: int | None, kept: bool) -> None:
    """To two digits, where it is not known to how many: 1.01 of two scores is within reach of 0.005 each."""
    server = Server(httpx.Response(200, json=_told(("cat", 0.6), ("dog", 0.41))))
    with labelled_scores(
        server.sender(), url=URL, model="pets", labels=LABELS, score_digits=digits, top_k=2
    ) as teacher:
        (kind,) = teacher.describe().outputs
        described = teacher.describe()
        with nullcontext() if kept else pytest.raises(TeacherError, match="add up"):
            teacher.buy(IMAGE, description=described, idempotency_key="k", outputs=(kind,))


def test_a_whole_purchase_is_kept_and_paid_once(samples: Mapping[bytes, NDArray[np.uint8]], tmp_path: Path) -> None:
    model = ForeignScores(_predict, digits=2)
    with served(model) as url, _client(url, score_digits=2) as teacher, Cache(tmp_path / "cache.sqlite") as cache:
        description = teacher.describe()
        for _ in range(2):
            order = PurchaseOrder(
                teacher, description, cache, samples, request_size=32, concurrency=3, kinds=("top_k:2:2",)
            )
            with cache.buying() as buyer:
                fetch(order, plan(order), samples, buyer=buyer)
        held = cached_outputs(cache, cache.stream(description.id, "top_k:2:2"), samples)
    assert model.charged == len(samples)
    classes = list(LABELS.values())
    for key, image in samples.items():
        first = int(image.flat[0]) % 3
        expected = [[classes[first], 0.5], [classes[(first + 1) % 3], 0.31]]
        np.testing.assert_allclose(held[key].reshape(2, 2), expected, rtol=1e-6)
