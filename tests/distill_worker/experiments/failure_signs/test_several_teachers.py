"""Students of one teacher that learned from several versions of it."""

from distill_worker.experiments.failure_signs.several_teachers import several_teachers


def test_each_version_is_named_with_its_students() -> None:
    sign = several_teachers(["old", "new", None, "old"])
    assert sign is not None
    assert ": old taught 2 students; new taught 1 student. " in sign


def test_one_teacher_and_students_without_one_are_silent() -> None:
    assert several_teachers(["t", "t", None]) is None
    assert several_teachers([]) is None
