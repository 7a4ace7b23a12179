"""A part of a purchase is a run of its own: samples are bought in the order in which a smaller n selects them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_worker.buying.fetch import fetch
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.data.datasets.dataset import Dataset, Split
from distill_worker.errors import ConfigError, TeacherRefused, TeacherUnavailable, WorkerError
from distill_worker.runs.sampling.held_samples import HeldSamples, held_samples
from distill_worker.runs.sampling.samples import Samples
from tests.distill_worker.fake_teacher import FakeTeacher, Fault, describe
from tests.distill_worker.purchases import buy_as_configured, intend, order_for
from tests.endurance import rounds

NESTED = ("random", "class-balanced", "k-center")
LOST: Fault = ("after", TeacherUnavailable("the answer is lost"))
KILLED: Fault = ("before", TeacherUnavailable("the worker was killed"))
REJECTED: Fault = ("before", TeacherRefused("this request is wrong"))


def _dataset() -> Dataset:
    images = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(20) % 3)
    return Dataset("tiny", split, split, ("a", "b", "c"), (0.5,), (0.5,), 0, False)


DATASET = _dataset()


def _config(folder: Path = Path("runs"), share: float = 0.0, **changes: Any) -> RunConfig:
    document: Mapping[str, Any] = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": changes.get("method", {"name": "kd"}),
        "budget": {"n": 14, **changes.get("budget", {})},
        "training": {"validation_share": share},
        "output": {"directory": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
    }
    return parse_config(document, source="test")


def _of_n(strategy: str, n: int | None) -> Samples:
    return Samples.among(DATASET, _config(budget={"n": n, "strategy": strategy}))


@pytest.mark.parametrize("n", [14, None])
@pytest.mark.parametrize("strategy", NESTED)
def test_every_beginning_of_a_purchase_is_what_a_smaller_n_selects(strategy: str, n: int | None) -> None:
    """Of all samples, too; and the rows of training stay in the order of the data set."""
    whole = _of_n(strategy, n)
    assert whole.chosen == sorted(whole.chosen)
    for smaller in range(2, len(whole.chosen) + 1):
        part = _of_n(strategy, smaller)
        assert list(whole.wanted)[:smaller] == list(part.wanted)
        assert sorted(part.wanted) == sorted(part.keys)


def test_mixtures_are_bought_last() -> None:
    mixed = _config(method={"name": "mixup", "targets": "requeried", "mixtures": 5})
    samples, plain = Samples.among(DATASET, mixed), Samples.among(DATASET, _config())
    assert list(samples.wanted)[:14] == list(plain.wanted)
    assert set(list(samples.wanted)[14:]) == set(samples.keys[14:])


@st.composite
def _purchases(draw: st.DrawFn) -> list[tuple[int | None, int, int, tuple[Fault, ...]]]:
    """Commands one after another: --max-calls, the request size, requests at once, and how each request ends."""
    fault = st.sampled_from([None, None, LOST, KILLED, REJECTED])
    one = st.tuples(
        st.none() | st.integers(0, 9), st.integers(1, 4), st.integers(1, 4), st.lists(fault, max_size=4).map(tuple)
    )
    return draw(st.lists(one, min_size=1, max_size=5))


@settings(max_examples=rounds(15, 150))
@given(purchases=_purchases(), strategy=st.sampled_from(NESTED), n=st.sampled_from([14, None]))
def test_whatever_was_bought_killed_or_limited_held_samples_are_those_of_a_smaller_n(
    purchases: Sequence[tuple[int | None, int, int, tuple[Fault, ...]]], strategy: str, n: int | None
) -> None:
    """In flight: held, open and just rejected samples together. At rest: exactly the samples of n = k."""
    samples, teacher = _of_n(strategy, n), FakeTeacher(description=describe(shape=(1, 8, 8)))
    with TemporaryDirectory() as folder, Cache(Path(folder) / "cache.sqlite") as cache:
        for max_calls, request_size, concurrency, faults in purchases:
            teacher.will(*faults)
            _buy(teacher, cache, samples, max_calls=max_calls, request_size=request_size, concurrency=concurrency)
            begun = _held(cache, samples) | _open(cache) | _rejected(cache, samples)
            assert begun == set(list(samples.wanted)[: len(begun)])
        teacher.will()
        rest = plan(order_for(teacher, cache, samples.wanted)).reopened_samples
        _buy(teacher, cache, samples, max_calls=rest + len(_rejected(cache, samples)))
        bought = _held(cache, samples)
        assert _open(cache) == set()
        if len(bought) >= 2:
            assert bought == set(_of_n(strategy, len(bought)).wanted)
        assert teacher.paid == len(bought), "no sample is paid twice"


def _buy(teacher: FakeTeacher, cache: Cache, samples: Samples, **terms: Any) -> None:
    """One command, however it ends."""
    teacher.stopped = False
    order = order_for(teacher, cache, samples.wanted, **terms)
    with cache.buying() as buyer, suppress(WorkerError):
        fetch(order, plan(order), samples.wanted, buyer=buyer, bound=order.max_calls is not None)


def _held(cache: Cache, samples: Samples) -> set[bytes]:
    return set(samples.wanted) - set(cache.missing(cache.stream("t", "logits"), samples.wanted))


def _open(cache: Cache) -> set[bytes]:
    return {key for purchase in cache.open_purchases("t") for key in purchase.sample_keys}


def _rejected(cache: Cache, samples: Samples) -> set[bytes]:
    void = {key for purchase in cache.purchases() if purchase.status == "void" for key in purchase.sample_keys}
    return void - _held(cache, samples) - _open(cache)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_worker.runs.rounds.dataset_of", lambda _config: DATASET)


def _part(cache: Cache, keys: Sequence[bytes], config: RunConfig, teacher_id: str | None = None) -> HeldSamples:
    """What is held after exactly these samples were bought."""
    purchase = intend(cache, cache.order("t", ["logits"]), keys, payer="alice")
    cache.complete(purchase, {"logits": np.zeros((len(keys), 3), np.float32)})
    return held_samples(config, cache, teacher_id)


@pytest.mark.parametrize("share", [0.0, 0.25])
@pytest.mark.parametrize("strategy", NESTED)
def test_held_part_is_the_run_of_that_n(cache: Cache, tmp_path: Path, strategy: str, share: float) -> None:
    """Its samples, its validation samples, its labels, and the configuration of that n."""
    config = _config(tmp_path, share, budget={"n": 12, "strategy": strategy})
    keys = list(Samples.among(DATASET, config).wanted)
    part = _part(cache, keys[:7], config)
    expected = _config(tmp_path, share, budget={"n": 7, "strategy": strategy})
    assert (part.config, part.wanted, part.teacher_id) == (expected, 12, "t")
    assert part.are_first is (strategy == "random" or share == 0)
    if part.are_first:
        samples = Samples.among(DATASET, expected)
        assert (part.samples.chosen, part.samples.validation) == (samples.chosen, samples.validation)
        assert part.samples.digest() == samples.digest()
    assert not set(part.samples.chosen) & set(part.samples.validation)


def test_samples_that_were_bought_in_another_order_are_trained_on(cache: Cache, tmp_path: Path) -> None:
    """As an earlier version bought them: all seven, though n = 7 alone selects others."""
    config = _config(tmp_path)
    samples = Samples.among(DATASET, config)
    part = _part(cache, samples.keys[:7], config)
    assert set(part.samples.keys) == set(samples.keys[:7])
    assert part.are_first is False


def test_held_samples_that_validate_the_smaller_run_are_left_out(cache: Cache, tmp_path: Path) -> None:
    """Of ranks 0, 1, 2 and 6 to 9, a run on five validates on ranks 5 and 6, so that ranks 7 and 8 complete it."""
    config = _config(tmp_path, 0.25)
    keys = list(Samples.among(DATASET, config).wanted)
    part = _part(cache, [*keys[:3], *keys[6:10]], config)
    assert part.config.budget.n == 5
    assert set(part.samples.keys) == {*keys[:3], *keys[7:9]}
    assert len(part.samples.validation) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": {"name": "ce"}}, "--held: expected a method with a teacher, got ce"),
        ({"method": {"name": "mixup", "targets": "requeried", "mixtures": 5}}, "without bought mixtures.*got mixup"),
        ({"budget": {"strategy": "entropy", "rounds": 2}}, r"expected budget\.rounds = 1, got 2"),
        ({"method": {"name": "ckd", "k": 4}}, r"--held \(budget\.n = 3\): method\.k: expected at most"),
    ],
)
def test_run_without_such_a_part_is_rejected(
    cache: Cache, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    keys = list(Samples.among(DATASET, _config()).wanted)
    with pytest.raises(ConfigError, match=message):
        _part(cache, keys[:3], _config(tmp_path, **changes))


def test_too_few_samples_are_counted(cache: Cache, tmp_path: Path) -> None:
    config = _config(tmp_path)
    with pytest.raises(WorkerError, match=r"got none of 14 samples \(teachers in .*: none\).*fetch"):
        held_samples(config, cache)
    with pytest.raises(WorkerError, match="expected at least 2 of 14 samples in the cache, got 1"):
        _part(cache, list(Samples.among(DATASET, config).wanted)[:1], config)


def test_samples_of_several_teachers_are_not_mixed(cache: Cache, tmp_path: Path) -> None:
    config = _config(tmp_path)
    samples = Samples.among(DATASET, config)
    buy_as_configured(config, samples, FakeTeacher(description=describe("u", shape=(1, 8, 8))), cache)
    with pytest.raises(WorkerError, match=r"choose one with --teacher-id: t \(3 samples\), u \(14 samples\)"):
        _part(cache, list(samples.wanted)[:3], config)
    assert held_samples(config, cache, "t").config.budget.n == 3


def test_kind_that_most_samples_have_is_the_one_that_counts(cache: Cache, tmp_path: Path) -> None:
    """Three samples have logits as well; six have probabilities."""
    config = _config(tmp_path)
    keys = list(Samples.among(DATASET, config).wanted)
    for kind, count in (("probabilities", 6), ("logits", 3)):
        purchase = intend(cache, cache.order("t", [kind]), keys[:count], payer="alice")
        cache.complete(purchase, {kind: np.full((count, 3), 0.25, np.float32)})
    assert held_samples(config, cache).config.budget.n == 6
