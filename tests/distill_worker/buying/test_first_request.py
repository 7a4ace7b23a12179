"""Of a teacher that leaves open what its answers will be, the first request buys one sample."""

from dataclasses import replace
from pathlib import Path

import pytest

from distill_worker.cache import Cache
from distill_worker.errors import TeacherError
from distill_worker.teachers.base import Description
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.purchases import Samples, carry_out, plan_for

OPEN = [
    replace(describe(), image_shape=None),
    replace(describe(), states_classes=False),
]


@pytest.mark.parametrize("description", OPEN, ids=["images of any shape", "any number of classes"])
def test_first_request_has_one_sample_where_the_description_is_incomplete(
    description: Description, tmp_path: Path, samples: Samples
) -> None:
    teacher = FakeTeacher(description=description)
    with Cache(tmp_path / "cache.sqlite") as cache:
        planned = plan_for(teacher, cache, samples).requests
        assert carry_out(teacher, cache, samples, concurrency=4) == 12
    assert [len(keys) for _, keys in teacher.sent] == [1, 4, 4, 3]
    assert planned == len(teacher.sent)


def test_answer_that_does_not_fit_costs_one_call(tmp_path: Path, samples: Samples) -> None:
    teacher = FakeTeacher(description=OPEN[1], faults=[("after", TeacherError("another number of classes"))])
    with Cache(tmp_path / "cache.sqlite") as cache, pytest.raises(TeacherError, match="another number"):
        carry_out(teacher, cache, samples, concurrency=4)
    assert teacher.paid == 1


def test_first_request_is_whole_where_the_description_is_complete(tmp_path: Path, samples: Samples) -> None:
    teacher = FakeTeacher()
    with Cache(tmp_path / "cache.sqlite") as cache:
        planned = plan_for(teacher, cache, samples).requests
        carry_out(teacher, cache, samples)
    assert [len(keys) for _, keys in teacher.sent] == [4, 4, 4]
    assert planned == 3
