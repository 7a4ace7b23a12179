"""From a configuration to the client that it needs."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from distill_worker.config.teacher_address import TeacherAddress
from distill_worker.teachers.oip import OipTeacher
from distill_worker.teachers.open_teacher import teacher_at
from distill_worker.teachers.vendors.labelled_scores import LabelledScoresTeacher
from tests.foreign.labelled_scores_server import ForeignScores
from tests.foreign.labelled_scores_server import served as served_scores
from tests.foreign.oip_server import ForeignModel, served

ADDRESS: TypeAdapter[TeacherAddress] = TypeAdapter(TeacherAddress)
IMAGE = np.zeros((1, 1, 2, 2), np.uint8)


def test_open_inference_is_the_default_and_takes_every_setting() -> None:
    address = ADDRESS.validate_python(
        {"model": "classifier", "input_name": "x", "output_name": "y", "binary": False, "repeats_are_free": True}
    )
    model = ForeignModel(lambda _: np.array([[1.0, 2, 3]]), tensors=("logits",), input_name="x", logits_name="y")
    with served(model) as url, teacher_at(address, url=url, api_key=None) as teacher:
        assert isinstance(teacher, OipTeacher)
        description = teacher.describe()
        answer = teacher.buy(IMAGE, description=description, idempotency_key="k")
    assert description.repeats_are_free
    assert answer.outputs["logits"].tolist() == [[1, 2, 3]]
    assert model.was_binary == [False]


def test_labelled_scores_takes_every_setting() -> None:
    address = ADDRESS.validate_python(
        {
            "protocol": "labelled-scores",
            "model": "pets",
            "model_version": "june",
            "labels": {"cat": 0, "dog": 1},
            "num_classes": 7,
            "top_k": 1,
            "score_digits": 3,
            "repeats_are_free": True,
        }
    )
    model = ForeignScores(lambda _: np.array([0.25, 0.75]), told=1)
    with served_scores(model) as url, teacher_at(address, url=url, api_key="secret") as teacher:
        assert isinstance(teacher, LabelledScoresTeacher)
        description = teacher.describe()
        answer = teacher.buy(IMAGE, description=description, idempotency_key="k", outputs=("top_k:1:3",))
    assert (description.id, description.num_classes) == (f"{url}/pets/june/aa58fde9c156", 7)
    assert description.repeats_are_free
    assert answer.outputs["top_k:1:3"].tolist() == [[[1, 0.75]]]


@pytest.mark.parametrize(
    ("settings", "because"),
    [
        ({"protocol": "labelled-scores"}, "expected the class of each label"),
        ({"protocol": "labelled-scores", "labels": {"cat": 0, "lynx": 0}}, "a class of its own for each label"),
        ({"protocol": "labelled-scores", "labels": {"cat": -1}}, "greater than or equal to 0"),
        ({"protocol": "morse"}, "open-inference"),
        ({"price_per_call": -0.1}, "greater than or equal to 0"),
    ],
)
def test_address_that_cannot_be_meant_is_refused(settings: dict[str, Any], because: str) -> None:
    with pytest.raises(ValidationError, match=because):
        ADDRESS.validate_python(settings)
