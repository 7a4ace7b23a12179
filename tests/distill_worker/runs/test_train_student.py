"""One student from its configuration, on outputs that are drawn, through real kills."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, RunError
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.train_student import train_student
from distill_worker.training.evaluate import count_correct
from distill_worker.training.loop import Progress
from shared.weights import load_weights
from tests.distill_worker.training.trackers.following import curves

N = 24
_KILLED_RUN = """
import os, signal, sys
from tests.distill_worker.runs.test_train_student import run
end = lambda step, loss: step == 13 and os.kill(os.getpid(), signal.SIGKILL)
run(sys.argv[1], end, training={"precision": sys.argv[2], "averaging": sys.argv[3]})
"""


def _config(folder: Path, **sections: Mapping[str, Any]) -> RunConfig:
    document: dict[str, dict[str, Any]] = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "ckd", "pairing": "drawn", "k": 3, "comparisons": 32},
        "budget": {"n": N},
        "training": {"steps": 20, "batch_size": 8, "checkpoint_every": 5, "device": "cpu"},
        "output": {"directory": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
    }
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section}
    return parse_config(document, source="test")


def run(folder: str | Path, progress: Progress = lambda _step, _loss: None, **sections: Any) -> dict[str, Any]:
    """Train the test's student on targets that are drawn, not bought."""
    config = _config(Path(folder), **sections)
    targets = 5 * torch.randn(N, 10, generator=torch.Generator().manual_seed(0))
    samples = Samples.of(config)
    return train_student(config, samples, {"logits": targets}, "t", progress=progress)


def _left_in(folder: Path) -> list[bytes]:
    return [(folder / "run" / name).read_bytes() for name in ("student.safetensors", "metrics.jsonl")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    run(folder)
    return folder


@pytest.mark.parametrize(("precision", "averaging"), [("float32", "none"), ("bfloat16", "none"), ("float32", "ema")])
def test_killed_and_resumed_run_ends_with_the_same_bits(precision: str, averaging: str, tmp_path: Path) -> None:
    """SIGKILL at step 13, after the checkpoint of step 10: equal student and equal metrics, to the last bit."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    undisturbed = run(whole, training={"precision": precision, "averaging": averaging})
    command = [sys.executable, "-c", _KILLED_RUN, str(halves), precision, averaging]
    killed = subprocess.run(command, check=False, cwd=Path(__file__).parents[3])
    assert killed.returncode == -signal.SIGKILL
    left = sorted(file.name for file in (halves / "run").iterdir())
    assert left == [".lock", "checkpoint.pt", "metrics.jsonl", "run.json", "tensorboard"]
    assert len((halves / "run" / "metrics.jsonl").read_bytes().splitlines()) == 13
    steps = list[int]()
    result = run(halves, lambda step, _: steps.append(step), training={"averaging": averaging})
    assert steps[0] == 11
    assert _left_in(halves) == _left_in(whole)
    assert curves(halves / "run") == curves(whole / "run"), "of TensorBoard, each step once"
    assert result["accuracy"] == undisturbed["accuracy"]
    assert result["precision"] == precision, "though the second half leaves it to auto"


def test_same_seed_gives_the_same_bits(finished: Path, tmp_path: Path) -> None:
    """In another place, with checkpoints at other steps."""
    run(tmp_path, training={"checkpoint_every": 7})
    assert _left_in(tmp_path) == _left_in(finished)


def test_another_seed_gives_other_bits(finished: Path, tmp_path: Path) -> None:
    run(tmp_path, training={"seed": 1})
    assert _left_in(tmp_path) != _left_in(finished)


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"teacher": {"url": "http://elsewhere", "request_size": 3}},
        {"data": {"root": "elsewhere"}},
        {"training": {"checkpoint_every": 7}},
    ],
)
def test_finished_run_is_reported_without_training(finished: Path, sections: dict[str, Any]) -> None:
    """Wherever the teacher and the data live now: none of it is part of the run."""
    known = json.loads((finished / "run" / "result.json").read_text())
    assert run(finished, lambda step, _: pytest.fail(f"step {step}"), **sections) == known


@pytest.mark.parametrize(
    ("sections", "difference"),
    [
        ({"method": {"k": 2}}, "method.k: 3 in the directory, 2 now"),
        ({"training": {"seed": 1}}, "training.seed: 0 in the directory, 1 now"),
        ({"budget": {"seed": 1}}, "budget.seed: 0 in the directory, 1 now"),
        ({"augmentation": {"crop_padding": 0}}, "augmentation.crop_padding: None in the directory, 0 now"),
    ],
)
def test_another_configuration_in_the_directory_is_refused(
    finished: Path, sections: dict[str, Any], difference: str
) -> None:
    before = _left_in(finished)
    with pytest.raises(RunError, match=f"another run .{difference}"):
        run(finished, **sections)
    assert _left_in(finished) == before


def test_result_is_not_returned_under_test_labels_that_were_put_right(finished: Path, tmp_path: Path) -> None:
    """The message says what changed. A fresh run measures on the new labels; the student of before stays."""
    shutil.copytree(finished / "run", tmp_path / "run")
    before = _left_in(tmp_path)
    config = _config(tmp_path)
    samples = Samples.of(config)
    test = samples.dataset.test
    relabelled = replace(samples.dataset, test=replace(test, labels=(test.needed_labels + 1) % 10))
    samples = replace(samples, dataset=relabelled)
    targets = {"logits": 5 * torch.randn(N, 10, generator=torch.Generator().manual_seed(0))}
    with pytest.raises(
        RunError, match=r"the labels of the test images have changed: digest .* train again with --fresh"
    ):
        train_student(config, samples, targets, "t")
    assert _left_in(tmp_path) == before
    notes: list[str] = []
    result = train_student(config, samples, targets, "t", fresh=True, note=notes.append)
    card, network, _ = load_weights(tmp_path / "run" / "student.safetensors")
    correct = count_correct(network, test.images, relabelled.test.needed_labels, mean=card.mean, std=card.std)
    assert result["correct"] == correct
    assert str(tmp_path / "run" / "before-1") in notes[0]
    kept = [(tmp_path / "run" / "before-1" / name).read_bytes() for name in ("student.safetensors", "metrics.jsonl")]
    assert kept == before


def test_result_is_not_returned_under_another_order_of_the_teachers_classes(finished: Path) -> None:
    """The samples and the bought outputs are the same, but the student would learn other classes from them."""
    config = _config(finished)
    targets = {"logits": 5 * torch.randn(N, 10, generator=torch.Generator().manual_seed(0))}
    with pytest.raises(RunError, match=r"the teacher's outputs, or how they are read, have changed: digest"):
        train_student(config, Samples.of(config), targets, "t", class_order=(1, 0, *range(2, 10)))


def test_averaged_student_is_stored_and_named(finished: Path, tmp_path: Path) -> None:
    """Its weights are others, its losses the same; a run with another average is another run."""
    result = run(tmp_path, training={"averaging": "swa"})
    assert result["averaging"] == "swa"
    weights, metrics = _left_in(tmp_path)
    assert metrics == _left_in(finished)[1]
    assert weights != _left_in(finished)[0]
    with pytest.raises(RunError, match=r"another run .training\.averaging: 'swa' in the directory, 'ema' now"):
        run(tmp_path, training={"averaging": "ema"})


def test_result_says_what_was_run_and_the_weights_agree(finished: Path) -> None:
    """The accuracy is counted again from the weights file alone."""
    result = json.loads((finished / "run" / "result.json").read_text())
    known = {"method": "ckd", "track": "queried", "data": "digits", "network": "resnet8", "n": N, "seed": 0}
    assert {key: result[key] for key in known} == known
    card, network, _ = load_weights(finished / "run" / "student.safetensors")
    test = Samples.of(_config(finished)).dataset.test
    assert count_correct(network, test.images, test.needed_labels, mean=card.mean, std=card.std) == result["correct"]
    assert result["accuracy"] == result["correct"] / result["test_samples"] == result["correct"] / 500
    assert card.provenance["teacher_id"] == "t"


def test_diverged_run_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a finite loss, got .*lower training\.learning_rate"):
        run(tmp_path, training={"learning_rate": 1e30})
    assert not (tmp_path / "run" / "result.json").exists()


def test_unknown_network_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"student\.network: .*'resnet9000x'.*resnet<depth>"):
        run(tmp_path, student={"network": "resnet9000x"})


def test_missing_cuda_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ConfigError, match=r"training\.device: .*CUDA"):
        run(tmp_path, training={"device": "cuda"})


def test_global_random_state_is_left_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    run(tmp_path, training={"steps": 1})
    assert torch.equal(torch.random.get_rng_state(), before)
