"""Our client against a chat API of another make, over real sockets."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.errors import AnswerUnread, TeacherRefused, TeacherUnavailable
from distill_worker.teachers.http_sender import Sender
from distill_worker.teachers.vendors.chat import ChatTeacher
from distill_worker.teachers.vendors.one_image import Vendor
from tests.distill_worker.teachers.scripted_server import Server
from tests.endurance import HANG_SECONDS
from tests.foreign.chat_server import ForeignChat, served

LABELS = {"newt": 4, "cat": 0, "dog": 1}
"""Classes 2 and 3 have no label."""
IMAGE = np.array([[[[7, 0], [0, 0]]]], np.uint8)


def _dog(_image: NDArray[np.uint8], _question: str) -> tuple[str, Mapping[str, float]]:
    return "B", {"B": 0.75, "A": 0.125, "C": 0.0625, "It": 0.0625}


def _client(url: str, labels: Mapping[str, int] = LABELS, *, version: str | None = None, **options: Any) -> ChatTeacher:
    sender = Sender(url, api_key="secret", timeout_seconds=HANG_SECONDS, give_up_after_seconds=HANG_SECONDS)
    vendor = Vendor(url, "eyes", labels, model_version=version)
    return ChatTeacher(sender, vendor, **{"prompt": "Which animal? {labels}", **options})


@pytest.mark.parametrize("path", ["", "/", "/chat/completions", "/chat/completions/"])
def test_likeliest_classes_come_back(path: str) -> None:
    """The image as it is, the labels by class, and a letter for each."""
    model = ForeignChat(_dog)
    with served(model) as url, _client(url + path, top_k=2, parameters={"temperature": 0}) as teacher:
        description = teacher.describe()
        answer = teacher.buy(IMAGE, description=description, idempotency_key="k", outputs=("top_k:2", "label"))
    assert dict(description.outputs) == {"top_k:2": (2, 2), "label": (1,)}
    assert description.num_classes == 5
    assert answer.outputs["top_k:2"].tolist() == pytest.approx(np.array([[[1, 0.8], [0, 0.125 / 0.9375]]]))
    assert answer.outputs["label"].tolist() == [[1]]
    assert re.fullmatch(
        rf"{url}/chat/completions/eyes/unversioned/asked-[0-9a-f]{{12}}/[0-9a-f]{{12}}", answer.teacher_id
    )
    assert answer.teacher_id == description.id
    assert np.array_equal(model.images[0], IMAGE[0])
    question = "Which animal? Answer with the letter of one of these labels, and nothing else:\nA: cat\nB: dog\nC: newt"
    expected = {"model": "eyes", "logprobs": True, "top_logprobs": 20, "temperature": 0, "messages": question}
    assert model.requests == [expected]


def test_all_labels_are_bought_of_an_answer_unless_fewer_are_wanted() -> None:
    labels = {f"number {place}": place for place in range(26)}
    with _client("http://t.test/v1", labels) as teacher, _client("http://t.test/v1", labels, top_k=4) as fewer:
        assert list(teacher.describe().outputs) == ["top_k:26", "label"]
        assert list(fewer.describe().outputs) == ["top_k:4", "label"]


def test_more_labels_than_letters_are_answered_by_name() -> None:
    labels = {f"number {place}": place for place in range(27)}
    model = ForeignChat(lambda _image, _question: ("Number 11.", {"number": 1.0}))
    with served(model) as url, _client(url, labels, detail="low") as teacher:
        description = teacher.describe()
        answer = teacher.buy(IMAGE, description=description, idempotency_key="k", outputs=("label",))
    assert list(description.outputs) == ["label"]
    assert answer.outputs["label"].tolist() == [[11]]
    assert "logprobs" not in model.requests[0]
    assert model.requests[0]["messages"].endswith("nothing else:\n" + "\n".join(labels))


def test_labels_of_one_character_stand_for_themselves() -> None:
    """Else the answer C could be the letter of another class."""
    model = ForeignChat(lambda _image, _question: ("C", {"C": 1.0}))
    with served(model) as url, _client(url, {"C": 0, "B": 1, "A": 2}) as teacher:
        assert list(teacher.describe().outputs) == ["label"]
        answer = teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k", outputs=("label",))
    assert answer.outputs["label"].tolist() == [[0]]


def test_api_without_log_probabilities_is_refused_unless_none_are_wanted() -> None:
    model = ForeignChat(_dog, has_log_probabilities=False)
    with served(model) as url:
        with (
            _client(url) as teacher,
            pytest.raises(TeacherRefused, match=r"logprobs; if .*set teacher\.top_logprobs = 0"),
        ):
            teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k", outputs=("top_k:3",))
        assert model.charged == 0
        with _client(url, top_logprobs=0) as teacher:
            answer = teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k", outputs=("label",))
    assert answer.outputs["label"].tolist() == [[1]]


def test_another_model_answers_in_its_own_name() -> None:
    """As an alias does. Its answers are those of that version from then on."""
    model = ForeignChat(_dog, answered_as="maker/eyes-2026-05-01")
    with served(model) as url, _client(url) as teacher, _client(url, version="maker/eyes-2026-05-01") as named:
        answer = teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k", outputs=("label",))
        assert answer.teacher_id == named.describe().id != teacher.describe().id


def test_what_is_asked_names_the_teacher() -> None:
    """Another question gets other answers; where the labels' classes change, the order in the question does."""
    url = "http://teacher.test/v1"
    clients = [
        _client(url),
        _client(url, prompt="What is it? {labels}"),
        _client(url, parameters={"temperature": 1}),
        _client(url, detail="low"),
        _client(url, top_logprobs=5),
        _client(url, {"cat": 1, "dog": 0, "newt": 4}),
    ]
    assert len({client.describe().source for client in clients}) == len(clients)
    assert _client(url, top_k=1).describe().id == clients[0].describe().id


def test_answer_that_is_no_label_is_kept() -> None:
    said = "I am not sure, it could be a cat."
    model = ForeignChat(lambda _image, _question: (said, {"I": 1.0}))
    with served(model) as url, _client(url) as teacher:
        with pytest.raises(AnswerUnread, match="expected one of A, B, C as the answer, got 'I am not sure") as raised:
            teacher.buy(IMAGE, description=teacher.describe(), idempotency_key="k", outputs=("label",))
        with pytest.raises(AnswerUnread):
            teacher.read(
                raised.value.raw,
                samples=1,
                description=teacher.describe(),
                idempotency_key="k",
                outputs=("top_k:3",),
            )


def test_probabilities_are_not_for_sale() -> None:
    server = Server(httpx.Response(500))
    with ChatTeacher(server.sender(), Vendor("http://t.test/v1", "eyes", LABELS), prompt="{labels}") as teacher:
        described = teacher.describe()
        with pytest.raises(TeacherRefused, match="expected top_k or label, which is all that this teacher sells"):
            teacher.buy(IMAGE, description=described, idempotency_key="k", outputs=("probabilities",))
    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, {"code": "model_not_found", "message": "The model `eyes` does not exist"}),
        (404, {"type": "not_found_error", "message": "model: eyes"}),
        (429, {"code": "insufficient_quota", "message": "You exceeded your current quota"}),
    ],
)
def test_errors_before_any_work_cost_nothing_and_end_at_once(status: int, error: dict[str, str]) -> None:
    server = Server(httpx.Response(status, json={"error": error}))
    with ChatTeacher(server.sender(), Vendor("http://t.test/v1", "eyes", LABELS), prompt="{labels}") as teacher:
        described = teacher.describe()
        with pytest.raises(TeacherRefused, match=error["message"]):
            teacher.buy(IMAGE, description=described, idempotency_key="k", outputs=("label",))
    assert len(server.requests) == 1


def test_error_in_a_list_is_shown_and_an_overloaded_server_charges_nothing() -> None:
    busy = httpx.Response(529, json=[{"error": {"message": "Overloaded"}}])
    server = Server(busy, busy, busy)
    vendor = Vendor("http://t.test/v1", "eyes", LABELS)
    with ChatTeacher(server.sender(), vendor, prompt="{labels}") as teacher:
        described = teacher.describe()
        with pytest.raises(TeacherUnavailable, match="529 Overloaded") as raised:
            teacher.buy(IMAGE, description=described, idempotency_key="k", outputs=("label",))
    assert raised.value.unpaid
