"""A Ray cluster of two workers trains what this machine alone trains, and pays nothing for a worker that is killed."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.errors import ConfigError, RunError
from distill_worker.experiments.engines import ray_cluster as module
from distill_worker.experiments.engines.inputs import inputs_file
from distill_worker.experiments.engines.ray_cluster import RayCluster, joined_or_started
from tests.distill_worker.experiments.engines.students import DIES, DIES_ONCE, FAILS, Students, folder_of_ray
from tests.distill_worker.runs.self_training.assistant.test_stage import weights_file


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two workers on this machine."""
    pytest.importorskip("ray")
    with folder_of_ray(), joined_or_started(None, threads=1, gpus=0, jobs=2) as cluster:
        yield cluster


def _train(cluster: RayCluster, students: Students) -> None:
    with inputs_file(students.folder, students.inputs()) as inputs:
        outcomes = dict(cluster.outcomes(students.tasks(), inputs))
    assert [outcomes[seed].result["seed"] for seed in range(students.count)] == list(range(students.count))


def test_students_have_the_bits_that_they_have_alone_killed_or_not(cluster: RayCluster, tmp_path: Path) -> None:
    """A worker dies at step 13, and another one resumes from the checkpoint of step 10."""
    students = Students(tmp_path, 3, DIES_ONCE)
    assert cluster.slots == 2
    cluster.check(students.config(0))
    _train(cluster, students)
    assert (tmp_path / "died").exists()
    assert students.weights() == students.weights_alone()


def test_student_whose_workers_all_die_is_named(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One retry, because a worker of Ray takes seconds to start."""
    monkeypatch.setattr(module, "RETRIES", 1)
    with pytest.raises(RunError, match=r"KD, seed 0: expected a Ray worker .* got 2 that did not"):
        _train(cluster, Students(tmp_path, 1, DIES))


def test_error_of_a_student_is_raised(cluster: RayCluster, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"KD, seed \d: .*broken"):
        _train(cluster, Students(tmp_path, 1, FAILS))


@pytest.mark.parametrize("section", ["student", "self_training"])
def test_network_that_a_machine_lacks_is_named_before_anything_is_spent(
    cluster: RayCluster, tmp_path: Path, section: str
) -> None:
    """The worker reads another file than this process: a path of its own folder of open files."""
    (tmp_path / "net.py").write_text("def Net(num_classes, in_channels): ...")
    config = Students(tmp_path, 1).config(0)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        seen_here = Path(f"/proc/self/fd/{descriptor}/net.py")
        own = {"network": "net.py:Net", "network_file": seen_here}
        sections = {"student": config.student.model_copy(update=own), "self_training": SelfTraining.model_validate(own)}
        expected = rf"{section}\.network: expected the code of .* on every machine .* got none .* Nothing was spent"
        with pytest.raises(ConfigError, match=expected):
            cluster.check(config.model_copy(update={section: sections[section]}))
    finally:
        os.close(descriptor)


def test_weights_of_an_assistant_that_a_machine_lacks_are_named_before_anything_is_spent(
    cluster: RayCluster, tmp_path: Path
) -> None:
    """The worker reads another file than this process, as above."""
    weights_file(tmp_path)
    config = Students(tmp_path, 1).config(0)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        [name] = [file.name for file in tmp_path.glob("*.safetensors")]
        settings = SelfTraining(assistant=Path(f"/proc/self/fd/{descriptor}") / name)
        expected = (
            r"self_training\.assistant: expected .* with the same weights on every machine .* got none .* Nothing was"
        )
        with pytest.raises(ConfigError, match=expected):
            cluster.check(config.model_copy(update={"self_training": settings}))
    finally:
        os.close(descriptor)


def test_cluster_without_room_for_a_student_is_named(cluster: RayCluster, tmp_path: Path) -> None:
    big = RayCluster(cluster._ray, threads=1, gpus=0.25, jobs=None, is_own=False)
    with pytest.raises(ConfigError, match=r"compare\.gpus_per_student: expected a machine with 1 CPU .* 0\.25 GPUs"):
        big.check(Students(tmp_path, 1).config(0))


def test_students_are_trained_where_the_folder_is_not_in_sight(cluster: RayCluster, tmp_path: Path) -> None:
    """The inputs are sent there, and the files of the runs come back. Finished students are not trained again."""
    before = set(Path(tempfile.gettempdir()).glob("tuition-*"))
    students = Students(tmp_path, 2)
    far = RayCluster(cluster._ray, threads=1, gpus=0, jobs=1, is_own=False)
    with inputs_file(tmp_path, students.inputs()) as inputs:
        descriptor = os.open(tmp_path, os.O_RDONLY)  # this path has another meaning in a worker
        seen_here = Path(f"/proc/self/fd/{descriptor}") / inputs.name
        first = dict(far.outcomes(students.tasks(), seen_here))
        again = dict(far.outcomes(students.tasks(), seen_here))
        os.close(descriptor)
    assert again == first
    assert students.weights() == students.weights_alone()
    assert sorted(file.name for file in (tmp_path / "student-0").iterdir()) == [
        "metrics.jsonl",
        "result.json",
        "run.json",
        "student.safetensors",
        "tensorboard",
    ]
    assert set(Path(tempfile.gettempdir()).glob("tuition-*")) <= before


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    expected = r"compare\.engine: expected the library ray .* 'tuition\[ray\]'\. Nothing was spent"
    with pytest.raises(ConfigError, match=expected), joined_or_started(None, threads=1, gpus=0, jobs=1):
        pass


@pytest.mark.parametrize("raised_by_ray", [ValueError, Exception])  # the latter: a node takes too long to start
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            None,
            r"compare\.engine: expected a Ray cluster to start .*, got none \(no socket .*\]\); try .* RAY_TMPDIR",
        ),
        (
            "auto",
            r"compare\.address: expected a Ray cluster to join at 'auto', got none \(no socket .*\]\)\. Nothing",
        ),
    ],
)
def test_cluster_that_cannot_be_used_is_named_and_its_retries_are_limited(
    monkeypatch: pytest.MonkeyPatch, address: str | None, expected: str, raised_by_ray: type[Exception]
) -> None:
    """Ray has a limit of its own for workers that it ends because the memory is full, which is none by default."""
    limits = []

    def init(**_settings: object) -> None:
        limits.append(os.environ.get("RAY_task_oom_retries"))  # noqa: SIM112 the spelling of Ray
        raise raised_by_ray("Why:\n\nno socket" + " and more" * 100)

    ray = SimpleNamespace(init=init, exceptions=SimpleNamespace(RayError=OSError))
    monkeypatch.setitem(sys.modules, "ray", ray)
    with (
        pytest.raises(ConfigError, match=expected) as raised,
        joined_or_started(address, threads=1, gpus=0, jobs=1),
    ):
        pass
    assert len(str(raised.value)) < 450
    assert limits == ["3"]
    assert "RAY_task_oom_retries" not in os.environ
