"""The loop of the benchmark is the one that users run."""

from benchmarks.training import students
from distill_worker.methods.single_sample import CE


def test_loop_trains_and_is_timed_between_its_first_and_last_step() -> None:
    assert students.loop(CE(), "float32", steps=1, samples=2)() > 0
