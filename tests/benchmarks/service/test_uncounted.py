"""The service with a ledger that counts nothing."""

from pathlib import Path

from benchmarks.service.teacher_file import write_teacher
from benchmarks.service.uncounted import nothing_counted
from tests.teacher_service.running_service import images, start_service


def test_uncounted_service_answers_and_charges_nothing(tmp_path: Path) -> None:
    """The stand-in is used, and the rest of the service is as it was: more is answered than the quota allows."""
    weights = write_teacher(tmp_path / "teacher.safetensors", "resnet8", 3, (8, 8))
    with nothing_counted(), start_service(weights, tmp_path) as service:
        answers = [service.infer(images(8)) for _ in range(14)]
        assert {answer.status_code for answer in answers} == {200}
        assert service.counts() == (0, 0)
