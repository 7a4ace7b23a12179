"""The classes of a run's data among those of its teacher, from the configuration and a real cache."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_worker.buying.fetch import NO_CALLBACKS
from distill_worker.cache import Cache
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, PlanRefused
from distill_worker.runs.classes import agreement_so_far, check_names, class_order, judge, notes
from distill_worker.runs.sampling.samples import Samples, dataset_of
from distill_worker.teachers.base import Description
from tests.distill_worker.fake_teacher import describe
from tests.distill_worker.purchases import intend

NAMES = ("ant", "bee", "cow")
N = 30
SHOP = {"protocol": "labelled-scores", "num_classes": 3, "top_k": 1}


def _config(folder: Path, *, named: bool = True, **sections: Any) -> RunConfig:
    """A run on noise, whose classes have names unless `named` is False."""
    draw = np.random.default_rng(0)
    arrays: dict[str, Any] = {"class_names": np.array(NAMES)} if named else {}
    for split, samples in (("train", 40), ("test", 9)):
        arrays[f"{split}_images"] = draw.integers(0, 256, (samples, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(samples) % 3
    np.savez(folder / "data.npz", **arrays)
    document = {
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "budget": {"n": N},
        **sections,
        "data": {"name": "npz", "path": str(folder / "data.npz"), **sections.get("data", {})},
    }
    return parse_config(document, source="test")


def _teacher(names: Sequence[str] | None = NAMES) -> Description:
    return replace(describe(shape=(1, 8, 8)), class_names=None if names is None else tuple(names))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened


def _hold(cache: Cache, samples: Samples, *, right: bool, count: int = N) -> None:
    """The cache holds logits of some samples, whose likeliest class is their label, or the next class."""
    labels = samples.dataset.train.needed_labels[samples.chosen][:count]
    logits = np.eye(3, dtype=np.float32)[(labels + (0 if right else 1)) % 3]
    cache.complete(intend(cache, cache.stream("t", "logits"), samples.keys[:count], payer="alice"), {"logits": logits})


def test_configured_names_replace_the_stated_ones(tmp_path: Path) -> None:
    config = _config(tmp_path, teacher={"class_names": ["cow", "ant", "bee"]})
    dataset = dataset_of(config)
    assert class_order(config, dataset, NAMES) == class_order(config, dataset, None) == (1, 2, 0)
    assert class_order(_config(tmp_path), dataset, NAMES) is None


def test_note_says_that_classes_are_mapped(tmp_path: Path) -> None:
    config = _config(tmp_path)
    dataset = replace(dataset_of(config), notes=("skipped 3 files",))
    assert notes(config, dataset, NAMES) == ["skipped 3 files"]
    assert [line[:13] for line in notes(config, dataset, NAMES[::-1])] == ["skipped 3 fil", "data: the tea"]


@pytest.mark.parametrize("labels", [{"ant": 1, "wasp": 0}, {"bee": 0}, {"ant": 0, "bee": 2}])
def test_label_that_is_another_class_of_the_data_is_named(tmp_path: Path, labels: dict[str, int]) -> None:
    config = _config(tmp_path, teacher={**SHOP, "labels": labels})
    with pytest.raises(ConfigError, match=r"^teacher.labels: expected '\w+' = \d, .*, got '\w+' = \d, which is '\w+'"):
        class_order(config, dataset_of(config), None)


def test_labels_that_are_no_names_of_the_data_are_accepted(tmp_path: Path) -> None:
    for labels in ({"ant": 0, "wasp": 1, "cow": 2}, {"Ant": 1, "BEE": 0}):
        config = _config(tmp_path, teacher={**SHOP, "labels": labels})
        assert class_order(config, dataset_of(config), None) is None


def test_labels_are_not_compared_with_numbers_in_place_of_names(tmp_path: Path) -> None:
    config = _config(tmp_path, named=False, teacher={**SHOP, "labels": {"1": 0, "2": 1}})
    assert class_order(config, dataset_of(config), None) is None


def test_table_of_names_is_refused_where_labels_have_classes(tmp_path: Path) -> None:
    config = _config(tmp_path, data={"classes": {"ant": "wasp"}}, teacher={**SHOP, "labels": {"wasp": 0, "b": 1}})
    with pytest.raises(ConfigError, match=r"^data.classes: expected no value for a vendor"):
        class_order(config, dataset_of(config), None)


def test_names_that_changed_under_one_version_are_refused(tmp_path: Path, cache: Cache) -> None:
    """The outputs in the cache are in the order of the old names."""
    config = _config(tmp_path)
    dataset = dataset_of(config)
    check_names(config, dataset, _teacher(), cache)
    cache.save_class_names("t", NAMES[::-1])
    for same in (NAMES[::-1], None):
        check_names(config, dataset, _teacher(same), cache)
    with pytest.raises(PlanRefused, match=r"expected the class names 'cow', 'bee', 'ant', as they were .*'ant', 'bee'"):
        check_names(config, dataset, _teacher(), cache)
    check_names(_config(tmp_path, teacher={"class_names": NAMES}), dataset, _teacher(), cache)


def test_outputs_in_the_cache_count(tmp_path: Path, cache: Cache) -> None:
    config = _config(tmp_path)
    samples = Samples.of(config)
    _hold(cache, samples, right=False, count=20)
    agreement = agreement_so_far(config, [samples], _teacher(), cache, ["logits"])
    assert agreement is not None
    with pytest.raises(PlanRefused, match="got it for 0 of 20"):
        agreement.check()
    right = np.eye(3, dtype=np.float32)[samples.dataset.train.needed_labels[samples.chosen][20:22]]
    on_answer = judge(config, [samples], _teacher(), cache, ["logits"])
    with pytest.raises(PlanRefused, match="got it for 2 of 22"):
        on_answer(samples.keys[20:22], {"logits": right})


@pytest.mark.parametrize(
    "sections",
    [
        {"teacher": {"class_names": ["cow", "ant", "bee"]}},
        {"corruption": {"label_noise": {"rate": 1.0}}},
        {"augmentation": {"query_view": "augmented"}},
        {"method": {"name": "mixup", "targets": "requeried", "mixtures": 10}},
    ],
)
def test_right_answers_agree_whatever_the_run_makes_of_the_data(
    tmp_path: Path, cache: Cache, sections: dict[str, Any]
) -> None:
    config = _config(tmp_path, **sections)
    samples = Samples.of(config)
    _hold(cache, samples, right="teacher" not in sections)  # there, its second class is the data's first
    agreement = agreement_so_far(config, [samples], _teacher(), cache, ["logits"])
    assert agreement is not None
    agreement.check()


def test_unlabelled_samples_and_teachers_that_need_not_agree_are_not_judged(tmp_path: Path, cache: Cache) -> None:
    unlabelled = {"track": "unlabelled-pool", "method": {"name": "pseudo-label"}}
    for sections in (unlabelled, {"teacher": {"expect_agreement": False}}):
        config = _config(tmp_path, **sections)
        samples = Samples.of(config)
        assert judge(config, [samples], _teacher(), cache, ["logits"]) is NO_CALLBACKS.on_answer
