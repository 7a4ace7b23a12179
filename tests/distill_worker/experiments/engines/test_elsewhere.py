"""The files of a run that travel to another machine and back."""

from pathlib import Path

from distill_worker.experiments.engines.elsewhere import files_of, put_back

TRAVELS = (
    "run.json",
    "checkpoint.pt",
    "tuning/scores.json",
    "tensorboard/events.out.tfevents.0001",
    "wandb/offline-run-1/files/config.yaml",
    "rounds/0001.json",
    "rounds/0001/student.safetensors",
    "self-training/round-1/pool.safetensors",
    "self-training/round-2/member-1/checkpoint.pt",
)
STAYS = (
    ".lock",
    "before-1/result.json",
    "rounds/0001/checkpoint.pt",
    "rounds/before-1/0001.json",
    "self-training/round-2/member-1/.lock",
)


def test_files_of_a_run_and_of_its_stages_travel(tmp_path: Path) -> None:
    """Not those of earlier runs, of the students that select but for their weights, or of locks."""
    here, there = tmp_path / "here", tmp_path / "there"
    for name in (*TRAVELS, *STAYS):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    files = files_of(here)
    assert sorted(files) == sorted(TRAVELS)
    put_back(there, files)
    assert files_of(there) == files
    assert files_of(tmp_path / "absent") == {}


def test_files_that_a_finished_run_deleted_elsewhere_are_deleted(tmp_path: Path) -> None:
    """Checkpoints, and the weights of members whose outputs are stored."""
    member = "self-training/round-1/member-1"
    put_back(tmp_path, dict.fromkeys(["checkpoint.pt", f"{member}/student.safetensors", f"{member}/run.json"], b""))
    (tmp_path / "before-1").mkdir()
    (tmp_path / "before-1" / "checkpoint.pt").touch()
    finished = dict.fromkeys(["result.json", "self-training/round-1/pool.safetensors", f"{member}/run.json"], b"")
    put_back(tmp_path, finished)
    assert files_of(tmp_path) == finished
    assert (tmp_path / "before-1" / "checkpoint.pt").exists()
