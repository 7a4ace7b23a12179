"""What is in the data and in the code of a run makes it this run, and a difference is named in plain words."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import ConfigError
from distill_worker.runs.run_facts import identity_of
from distill_worker.runs.sampling.samples import Samples, dataset_of

NETWORK = """
from torch import nn

def make(num_classes, in_channels):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
"""


def _config(**changed: Any) -> RunConfig:
    document = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "budget": {"n": 24},
        "training": {"validation_share": 0.1},
        "track": "labelled-pool",
    }
    return parse_config({**document, **changed}, source="test")


def _identity(config: RunConfig, dataset: Dataset) -> RunIdentity:
    return identity_of(config, Samples.among(dataset, config), {"teacher_id": "t"})


def _with_label(dataset: Dataset, part: str, position: int) -> Dataset:
    split = getattr(dataset, part)
    labels = split.labels.clone()
    labels[position] = (labels[position] + 1) % 10
    return replace(dataset, **{part: replace(split, labels=labels)})


def _with_test_pixel(dataset: Dataset) -> Dataset:
    images = dataset.test.images.clone()
    images[0, 0, 0, 0] += 1
    return replace(dataset, test=replace(dataset.test, images=images))


def _with_label_of(kind: str) -> Callable[[Dataset], Dataset]:
    def changed(dataset: Dataset) -> Dataset:
        samples = Samples.among(dataset, _config())
        rest = sorted(set(samples.candidates) - set(samples.chosen) - set(samples.validation))
        position = {"chosen": samples.chosen, "validation": samples.validation, "pool": rest}[kind][0]
        return _with_label(dataset, "train", position)

    return changed


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda dataset: _with_label(dataset, "test", 7), "the labels of the test images have changed: digest "),
        (_with_test_pixel, "the test images have changed: digest "),
        (_with_label_of("chosen"), "the samples or their labels are others: digest "),
        (_with_label_of("validation"), "the validation samples or their labels have changed: digest "),
        (_with_label_of("pool"), "the images or labels of the track's other training samples have changed: digest "),
        (lambda dataset: replace(dataset, mean=(0.5,)), "preprocessing.mean.0: 0.3055 in the directory, 0.5 now"),
        (lambda dataset: replace(dataset, crop_padding=3), "preprocessing.crop_padding: "),
        (
            lambda dataset: replace(dataset, class_names=("nought", *dataset.class_names[1:])),
            "class_names.0: '0' in the directory, 'nought' now",
        ),
    ],
)
def test_change_of_the_data_makes_another_run(change: Callable[[Dataset], Dataset], difference: str) -> None:
    config = _config()
    dataset = dataset_of(config)
    stored = _identity(config, dataset).values
    assert _identity(config, dataset).difference(stored) is None
    named = _identity(config, change(dataset)).difference(stored)
    assert named is not None
    assert difference in named


def test_sample_that_the_run_does_not_use_is_no_part_of_it() -> None:
    """The label of a training image that is not queried counts only in a track that learns from it."""
    config = _config(track="queried")
    dataset = dataset_of(config)
    changed = _with_label_of("pool")(dataset)
    assert _identity(config, changed).difference(_identity(config, dataset).values) is None


def test_images_that_an_ensemble_labels_are_part_of_a_run_without_their_labels() -> None:
    config = _config(track="unlabelled-pool", self_training={})
    dataset = dataset_of(config)
    stored = _identity(config, dataset).values
    relabelled = _with_label_of("pool")(dataset)
    assert _identity(config, relabelled).difference(stored) is None
    images = dataset.train.images.clone()
    images[Samples.among(dataset, config).unbought[0], 0, 0, 0] += 1
    repainted = replace(dataset, train=replace(dataset.train, images=images))
    named = _identity(config, repainted).difference(stored)
    assert named is not None
    assert "the images or labels of the track's other training samples have changed: digest " in named


def test_code_of_the_members_of_an_ensemble_is_part_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.py"
    file.write_text(NETWORK)
    config = _config(track="unlabelled-pool", self_training={"network": "mine.py:make"})
    dataset = dataset_of(config)
    stored = _identity(config, dataset).values
    assert _identity(config, dataset).difference(stored) is None
    file.write_text(NETWORK.replace("nn.Flatten()", "nn.Flatten(), nn.ReLU()"))
    named = _identity(config, dataset).difference(stored)
    assert named is not None
    assert named.startswith("the code of self_training.network has changed: digest ")


def test_code_of_ones_own_network_is_part_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.py"
    file.write_text(NETWORK)
    config = _config(student={"network": "mine.py:make"})
    dataset = dataset_of(config)
    stored = _identity(config, dataset).values
    assert _identity(config, dataset).difference(stored) is None
    file.write_text(NETWORK.replace("nn.Flatten()", "nn.Flatten(), nn.ReLU()"))
    named = _identity(config, dataset).difference(stored)
    assert named is not None
    assert named.startswith("the code of student.network has changed: digest ")
    file.unlink()
    with pytest.raises(ConfigError, match=r"student\.network: .*mine\.py"):
        _identity(config, dataset)


def test_directory_written_before_these_facts_is_the_same_run() -> None:
    config = _config()
    dataset = dataset_of(config)
    before = {
        name: value
        for name, value in _identity(config, dataset).values.items()
        if name in RunConfig.model_fields or name in ("samples", "teacher_id")
    }
    assert _identity(config, _with_label(dataset, "test", 7)).difference(before) is None


def _on_ranks(ranks: int, **training: Any) -> RunIdentity:
    config = _config(training={"validation_share": 0.1, **training})
    return identity_of(config, Samples.of(config), {}, ranks=ranks)


def test_number_of_ranks_and_their_batch_normalisation_make_a_run_this_run() -> None:
    """Of one process neither counts; runs of earlier versions, which store neither, are runs of one process."""
    one, two = _on_ranks(1), _on_ranks(2)
    earlier = {name: value for name, value in one.values.items() if name not in ("ranks", "batch_norm")}
    assert _on_ranks(1, batch_norm="per-rank").difference(earlier) is None
    assert _on_ranks(1, batch_norm="per-rank").difference(one.values) is None
    assert one.difference(two.values) == "ranks: 2 in the directory, 1 now"
    assert two.difference(one.values) == "ranks: 1 in the directory, 2 now"
    assert two.difference(earlier) == (
        "batch_norm: not set in the directory, 'synchronised' now; ranks: not set in the directory, 2 now"
    )
    assert _on_ranks(2, batch_norm="per-rank").difference(two.values) == (
        "batch_norm: 'synchronised' in the directory, 'per-rank' now"
    )
