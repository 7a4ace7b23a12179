"""The space that a cache and a run directory take is at most what is asked for before a purchase."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from distill_worker.cache import Cache
from distill_worker.cache.raw_answers import RawAnswer
from distill_worker.config.load import parse_config
from distill_worker.errors import RunError
from distill_worker.runs.preflight.disk_space import check_run_directory, space_for, space_for_training
from distill_worker.runs.preflight.facts import Lesson
from distill_worker.runs.rounds import SelectedSamples, config_of_round
from distill_worker.runs.sampling.samples import Samples
from tests.distill_worker.purchases import intend


@pytest.mark.parametrize(("samples", "values", "request_size"), [(30, 10, 1), (200, 10, 1), (2000, 100, 64)])
@pytest.mark.parametrize("is_read", [True, False])
def test_cache_fits_in_its_space(samples: int, values: int, request_size: int, is_read: bool, tmp_path: Path) -> None:
    """With its log, before it is closed; answers that cannot be read are kept as their text."""
    keys = [number.to_bytes(32, "big") for number in range(samples)]
    outputs = np.random.default_rng(0).normal(size=(samples, values)).astype(np.float32)
    with Cache(tmp_path / "cache.sqlite") as cache:
        stream = cache.order("t", ["logits"])
        for start in range(0, samples, request_size):
            part = slice(start, start + request_size)
            purchase = intend(cache, stream, keys[part], payer="alice")
            if is_read:
                cache.complete(purchase, {"logits": outputs[part]})
            else:
                cache.keep(purchase, RawAnswer(repr(outputs[part].tolist()).encode(), {}, "t", "t"), reason="no JSON")
        taken = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert taken <= space_for(samples=samples, values=samples * values)


@pytest.mark.parametrize(
    ("training", "self_training", "copies", "outputs"),
    [
        ({}, None, 1, 0),
        ({"checkpoint_every": 1}, None, 4, 0),
        ({"checkpoint_every": 1, "averaging": "ema"}, None, 6, 0),
        ({}, {"rounds": 3, "members": 5}, 1 + 5, 3),
        ({"checkpoint_every": 1}, {"rounds": 3, "members": 5}, 4 + 5, 3),
        pytest.param(
            {}, {"rounds": 3, "members": 5, "member_steps": 3}, 4 + 5, 3, id="a member alone saves checkpoints"
        ),
    ],
)
def test_run_directory_has_space_for_copies_of_weights_and_for_outputs_of_ensembles(
    training: dict[str, Any], self_training: dict[str, Any] | None, copies: int, outputs: int
) -> None:
    """By hand: a checkpoint is two copies or more, written beside the one before; 1,277 images have 10 classes."""
    document = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "budget": {"n": 20},
        "training": {"steps": 2, "checkpoint_every": 2, **training},
        **({} if self_training is None else {"track": "unlabelled-pool", "self_training": self_training}),
    }
    config = parse_config(document, source="test")
    space = space_for_training(config, Samples.of(config), weights_bytes=1000)
    assert space == copies * 1000 + outputs * 1277 * 10 * 4


def test_run_directory_has_space_for_an_assistant(tmp_path: Path) -> None:
    """By hand: its 4 folds have more members than a round of 2; 2 estimators of 1,277 images, 4 times 20 held out."""
    document = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "budget": {"n": 20},
        "track": "unlabelled-pool",
        "training": {"steps": 2, "checkpoint_every": 3},
        "self_training": {"members": 2, "assistant": str(tmp_path / "features.safetensors")},
    }
    config = parse_config(document, source="test")
    space = space_for_training(config, Samples.of(config), weights_bytes=1000)
    assert space == (1 + 4) * 1000 + (1277 + 2 * 1277 + 4 * 20) * 10 * 4


def test_checkpoint_of_a_fold_is_beside_that_of_the_student(tmp_path: Path) -> None:
    """By hand: the student; its checkpoint has weights and momentum, and so have two of a fold."""
    document = {
        "data": {"name": "digits", "labels": "none"},
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "budget": {"n": 20},
        "training": {"steps": 4, "checkpoint_every": 2},
        "output": {"directory": str(tmp_path)},
    }
    config = parse_config(document, source="test")
    assert space_for_training(config, Samples.of(config), weights_bytes=1000) == (2 + 2 * 2) * 1000
    held_out = parse_config({**document, "budget": {"n": 20, "holdout": 5}}, source="test")
    assert space_for_training(held_out, Samples.of(held_out), weights_bytes=1000) == 2 * 2 * 1000


def test_checkpoints_of_the_most_steps_that_tuning_may_choose_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configured steps end before a checkpoint."""
    document: dict[str, Any] = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "training": {"steps": 100, "checkpoint_every": 200},
        "output": {"directory": str(tmp_path / "run")},
    }
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    check_run_directory(_lesson(document))
    check_run_directory(_lesson({**document, "tuning": {"steps": [100, 200]}}))
    with pytest.raises(RunError, match="free disk space for the student and its checkpoints"):
        check_run_directory(_lesson({**document, "tuning": {"steps": [100, 300]}}))


def test_first_round_has_space_for_the_ensemble_of_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member alone selects. If only that fitted, the disk would be full after the calls are spent."""
    document: dict[str, Any] = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "budget": {"n": 20, "rounds": 2, "strategy": "k-center-softmax"},
        "training": {"steps": 100, "checkpoint_every": 200},
        "self_training": {"members": 2},
        "output": {"directory": str(tmp_path / "run")},
    }
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=2999))
    with pytest.raises(RunError, match="free disk space for the members of an ensemble"):
        check_run_directory(_lesson(document))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=3000))
    check_run_directory(_lesson(document))


def _lesson(document: dict[str, Any]) -> Lesson:
    """The next round of a run whose student takes 1000 bytes."""
    dataset = SimpleNamespace(class_names=[])
    samples = SimpleNamespace(images=[], validation=[], chosen=[], n=0, held_out=None, dataset=dataset)
    config = parse_config(document, source="test")
    training = config_of_round(config, SelectedSamples(cast(Samples, samples), rounds=1, later=0, teacher_id=None))
    run = SimpleNamespace(config=config, training=training, samples=samples, fresh=False)
    return cast(Lesson, SimpleNamespace(run=run, weights_bytes=1000))
