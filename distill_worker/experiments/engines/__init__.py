"""Engines that train many students: in processes of this machine, or on a Ray cluster.

An engine takes a list of tasks and a file with all that they learn from. It trains each student as `distill-worker
train` does, to the same bits on the same machine type, and contacts no teacher.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distill_worker.config.training_section import Training
from distill_worker.experiments.comparison.compare_section import Compare
from distill_worker.experiments.engines.jobs import default_jobs, gpus
from distill_worker.experiments.engines.local import LocalProcesses
from distill_worker.experiments.engines.ray_cluster import joined_or_started
from distill_worker.experiments.engines.tasks import Engine

__all__ = ["Engine", "opened_engine"]


@contextmanager
def opened_engine(compare: Compare, training: Training, note: Callable[[str], None]) -> Iterator[Engine]:
    """The engine that `[compare]` names, while the context is open.

    Args:
        compare: the section.
        training: the training of every student.
        note: shows the user one line.

    Raises:
        ConfigError: Ray is not installed, or its cluster cannot be used; this machine lacks the device.
    """
    if compare.engine == "local":
        yield LocalProcesses(compare.jobs or default_jobs(training), note, gpus=gpus(training))
        return
    share, jobs = compare.gpus_per_student, compare.jobs
    if share is None:
        share = min(1, gpus(training))
    if jobs is None and compare.address is None:
        jobs = default_jobs(training)
    with joined_or_started(compare.address, threads=training.threads, gpus=share, jobs=jobs) as cluster:
        yield cluster
