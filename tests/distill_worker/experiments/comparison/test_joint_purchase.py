"""Every sample of a comparison is bought once, with all kinds of output that any of its runs needs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from distill_worker.buying.plan import total
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.data.datasets.dataset import Dataset, Split
from distill_worker.experiments.comparison.joint_purchase import joint_orders, wanted_by_kinds
from distill_worker.runs.preflight import Run
from distill_worker.runs.purchase import buy
from distill_worker.runs.rounds import SelectedSamples
from distill_worker.runs.sampling.samples import Samples
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.purchases import intend, order_for

LOGITS, BOTH = ("logits",), ("features.a", "logits")
FEATURES = {"features.a": (2,)}


def _dataset() -> Dataset:
    images = torch.randint(0, 256, (20, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(20) % 3)
    return Dataset("tiny", split, split, ("a", "b", "c"), (0.5,), (0.5,), 0, False)


DATASET = _dataset()


def _config(n: int, *, seed: int = 0, method: dict[str, Any] | None = None) -> RunConfig:
    document = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": method or {"name": "kd"},
        "budget": {"n": n, "seed": seed},
    }
    return parse_config(document, source="test")


def _samples(n: int, *, seed: int = 0, method: dict[str, Any] | None = None) -> Samples:
    return Samples.among(DATASET, _config(n, seed=seed, method=method))


def _run(n: int, *, later: int = 0, method: dict[str, Any] | None = None) -> Run:
    """A run, whose later rounds select some more samples."""
    selected = SelectedSamples(_samples(n), rounds=1, later=later, teacher_id=None)
    return Run(_config(n, method=method), lambda: selected)


def test_runs_of_one_kind_are_one_order_in_the_order_of_the_first() -> None:
    first, second = _samples(12), _samples(9, seed=1)
    wanted = wanted_by_kinds([first, second, _samples(5)], [LOGITS] * 3)
    assert list(wanted) == [LOGITS]
    keys = list(wanted[LOGITS])
    assert keys[:12] == list(first.wanted)
    assert keys[12:] == [key for key in second.wanted if key not in first.wanted]


def test_sample_of_two_kinds_is_bought_once_with_both() -> None:
    """Twelve need logits, and the first five of them features too."""
    wanted = wanted_by_kinds([_samples(12), _samples(5)], [LOGITS, BOTH])
    assert {kinds: len(images) for kinds, images in wanted.items()} == {BOTH: 5, LOGITS: 7}
    assert set(wanted[BOTH]) == set(_samples(5).wanted)


def test_mixtures_come_after_the_plain_samples_of_all_runs() -> None:
    mixed = _samples(8, method={"name": "mixup", "targets": "requeried", "mixtures": 3})
    plain = _samples(6, seed=1)
    keys = list(wanted_by_kinds([mixed, plain], [LOGITS, LOGITS])[LOGITS])
    assert keys[-3:] == list(mixed.wanted)[8:]


@pytest.fixture
def teacher() -> FakeTeacher:
    """It sells logits and features."""
    return FakeTeacher(description=describe(outputs=FEATURES), limit=20, features=True)


def test_plan_of_several_orders_is_their_sum(teacher: FakeTeacher, tmp_path: Path) -> None:
    """An open purchase that both orders would repeat counts once."""
    wanted = wanted_by_kinds([_samples(12), _samples(5)], [LOGITS, BOTH])
    both, logits = list(wanted[BOTH]), list(wanted[LOGITS])
    with Cache(tmp_path / "cache.sqlite") as cache:
        intend(cache, cache.order("t", BOTH), [both[0], logits[0]], payer="alice")
        orders = [order_for(teacher, cache, images, kinds=kinds) for kinds, images in wanted.items()]
        whole = total([plan(order) for order in orders])
    assert (whole.wanted, whole.cached, whole.reopened_samples, len(whole.to_buy)) == (12, 0, 2, 10)
    assert (whole.requests, whole.most_calls, whole.kinds) == (1 + 1 + 2, 12, BOTH)
    assert whole.quota == teacher.quota()


@pytest.mark.parametrize(("max_calls", "paid"), [(None, 12), (0, 0), (3, 3), (8, 8), (20, 12)])
def test_limit_is_of_all_orders_together(
    teacher: FakeTeacher, tmp_path: Path, max_calls: int | None, paid: int
) -> None:
    wanted = wanted_by_kinds([_samples(12), _samples(5)], [LOGITS, BOTH])
    with Cache(tmp_path / "cache.sqlite") as cache:
        orders = [
            order_for(teacher, cache, images, kinds=kinds, max_calls=max_calls) for kinds, images in wanted.items()
        ]
        made, bought = buy(orders, {key: image for images in wanted.values() for key, image in images.items()})
        held = [len(cache.holdings(cache.stream("t", kind))) for kind in BOTH]
    assert (bought, teacher.paid, made.left_out) == (paid, paid, 12 - paid)
    assert held == [min(5, paid), paid]


FITNET = {"name": "fitnet", "teacher_layer": "a"}


@pytest.mark.parametrize(("later", "lacks_features"), [(0, 9), (4, 2)])
def test_call_brings_what_a_later_round_may_need_of_the_sample(
    later: int, lacks_features: int, teacher: FakeTeacher, tmp_path: Path
) -> None:
    """What another run buys now may be selected later by one that needs features. Nothing is bought again for it."""
    wanted, description = _samples(12).wanted, teacher.describe()
    cached, opened = list(wanted)[10:11], list(wanted)[11:]
    with Cache(tmp_path / "cache.sqlite") as cache:
        buy([order_for(teacher, cache, {key: wanted[key] for key in cached}, kinds=LOGITS)], wanted)
        intend(cache, cache.order("t", LOGITS), opened, payer="alice")
        orders = joint_orders([_run(12), _run(3, later=later, method=FITNET)], teacher, description, cache)
        whole = total([plan(order) for order in orders])
        assert (whole.wanted, whole.cached, whole.reopened_samples, len(whole.to_buy)) == (12, 1, 1, 10)
        buy(orders, wanted)
        kinds = {kind: len(cache.holdings(cache.stream("t", kind))) for kind in BOTH}
    assert kinds == {"features.a": 12 - lacks_features, "logits": 12}
    assert teacher.paid == 12
