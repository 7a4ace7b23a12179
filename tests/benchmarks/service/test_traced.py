"""The service with a clock at each hand-over."""

from pathlib import Path

from benchmarks.service.teacher_file import write_teacher
from benchmarks.service.traced import STEPS, Steps, marked
from tests.teacher_service.running_service import images, start_service


def test_every_step_of_an_answered_request_is_timed(tmp_path: Path) -> None:
    weights = write_teacher(tmp_path / "teacher.safetensors", "resnet8", 3, (8, 8))
    steps = Steps()
    with marked(steps), start_service(weights, tmp_path) as service:
        answers = [service.infer(images(1)) for _ in range(3)]
        assert {answer.status_code for answer in answers} == {200}
    assert steps.seconds.keys() == set(STEPS)
    assert all(second >= 0 for seconds in steps.seconds.values() for second in seconds)


def test_request_that_ended_early_counts_for_nothing() -> None:
    steps = Steps()
    steps.begin()
    steps.mark()
    steps.end()
    assert not steps.seconds
