"""One purchase from its configuration, with a fake teacher and a real cache."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill_worker.cache import Cache, RawAnswer
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import (
    AnswerUnread,
    ConfigError,
    PlanRefused,
    QuotaExhausted,
    TeacherError,
    TeacherUnavailable,
    WorkerError,
)
from distill_worker.runs.purchase import api_key, buy, connect, planned
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import load_targets
from distill_worker.teachers.base import Answer
from shared.sample_key import sample_keys
from tests.distill_worker.fake_teacher import FakeTeacher, answer, describe
from tests.distill_worker.purchases import Samples as Images
from tests.distill_worker.purchases import buy_as_configured, order_for

N = 24


def _config(folder: Path, **teacher: Any) -> RunConfig:
    document = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "ckd", "k": 2},
        "teacher": teacher,
        "budget": {"n": N},
        "output": {"directory": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
    }
    return parse_config(document, source="test")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened


def test_bought_targets_are_aligned_with_the_chosen_images(tmp_path: Path, cache: Cache) -> None:
    """Bought in other batches and another order, row i is still the answer to image i; a second purchase is free."""
    config = _config(tmp_path, request_size=7, concurrency=3)
    samples = Samples.of(config)
    teacher = FakeTeacher(description=describe(shape=(1, 8, 8)))
    plan, bought = buy_as_configured(config, samples, teacher, cache)
    assert (bought, teacher.paid, plan.requests) == (N, N, 4)
    images = samples.dataset.train.images[torch.tensor(samples.chosen)].numpy()
    assert samples.keys == sample_keys(images)
    assert set(samples.wanted) == set(samples.keys)
    assert np.array_equal(load_targets(cache, "t", samples.keys)["logits"].numpy(), answer(images))
    again, bought = buy_as_configured(config, samples, teacher, cache)
    assert (bought, again.cached, teacher.paid) == (0, N, N)


def test_abandoned_purchases_are_bought_anew(tmp_path: Path, cache: Cache) -> None:
    config = _config(tmp_path)
    samples, description = Samples.of(config), describe(shape=(1, 8, 8))
    alice = FakeTeacher(description=description, faults=[("after", TeacherUnavailable("lost"))])
    with pytest.raises(TeacherUnavailable):
        buy_as_configured(config, samples, alice, cache)
    bob = FakeTeacher(payer="bob", description=description)
    assert buy_as_configured(config, samples, bob, cache, abandon="other-keys")[1] == N
    assert bob.paid == N


CHARGES_REPEATS = replace(describe(), repeats_are_free=False)


def _lose(cache: Cache, teacher: FakeTeacher, images: Images, samples: int) -> None:
    """Begin a purchase of each of the first samples, and end without an answer."""
    with cache.buying() as buyer:
        cache.claim(order_for(teacher, cache, images, request_size=1).claims(), buyer, samples)


@pytest.mark.parametrize("repeats_are_free", [True, False])
def test_purchases_whose_samples_max_calls_leaves_out_are_not_given_up(
    cache: Cache, samples: Images, repeats_are_free: bool
) -> None:
    """They may have been charged, and the next plan says so, or repeats them for free."""
    teacher = FakeTeacher(description=replace(describe(), repeats_are_free=repeats_are_free))
    _lose(cache, teacher, samples, 8)
    made, bought = buy([order_for(teacher, cache, samples, request_size=1, abandon="all", max_calls=2)], samples)
    assert (made.again, bought, teacher.paid) == (2, 2, 2)
    left = planned([order_for(teacher, cache, samples)])
    assert (left.cached, left.reopened_samples + left.uncertain, len(left.to_buy)) == (2, 6, 4)


def test_purchases_stay_uncertain_when_the_first_request_after_giving_them_up_is_refused(
    cache: Cache, samples: Images
) -> None:
    teacher = FakeTeacher(description=CHARGES_REPEATS, faults=[("before", QuotaExhausted("402"))])
    _lose(cache, teacher, samples, 8)
    with pytest.raises(QuotaExhausted):
        buy([order_for(teacher, cache, samples, request_size=1, abandon="all")], samples)
    left = planned([order_for(teacher, cache, samples)])
    assert (left.uncertain, len(left.to_buy), teacher.paid) == (8, 4, 0)
    again = FakeTeacher(description=CHARGES_REPEATS)
    assert buy([order_for(again, cache, samples, abandon="all")], samples)[1] == len(samples)
    assert planned([order_for(again, cache, samples)]).cached == again.paid == len(samples)


def test_joint_purchase_that_one_order_refuses_spends_nothing(cache: Cache, samples: Images) -> None:
    """All paid answers of the second order cannot be read, which one plan of both does not show."""
    teacher = FakeTeacher(description=replace(CHARGES_REPEATS, outputs={"features.a": (2,), **CHARGES_REPEATS.outputs}))
    keys = list(samples)
    one, two = ({key: samples[key] for key in part} for part in (keys[:8], keys[8:]))
    buy([order_for(teacher, cache, {key: samples[key] for key in keys[:4]})], samples)
    of_two = order_for(teacher, cache, two, kinds=("features.a", "logits"))
    with cache.buying() as buyer:
        (purchase,) = cache.claim(of_two.claims(), buyer, 1)
        cache.keep(purchase, RawAnswer(b"", {}, "t", "t"), reason="not finite")
    teacher.read = _unreadable  # type: ignore[method-assign]
    orders = [order_for(teacher, cache, one), of_two]
    planned(orders).check()
    with pytest.raises(PlanRefused, match="Nothing was spent now"):
        buy(orders, samples)
    assert teacher.paid == 4


def _unreadable(*_: object, **__: object) -> Answer:
    raise AnswerUnread("not finite", RawAnswer(b"", {}, "t", "t"))


def test_purchase_with_max_calls_fails_if_only_uncertain_samples_are_left(cache: Cache, samples: Images) -> None:
    """As without it: their outputs are not in the cache, and no later purchase brings them."""
    teacher = FakeTeacher(description=CHARGES_REPEATS)
    buy([order_for(teacher, cache, dict(list(samples.items())[1:]))], samples)
    _lose(cache, teacher, samples, 1)
    for max_calls in (None, 100, 0):
        with pytest.raises(TeacherError, match="not sent again: 1 sample"):
            buy([order_for(teacher, cache, samples, max_calls=max_calls)], samples)
    assert teacher.paid == len(samples) - 1


def test_api_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variable wins over the file, of which the first line counts."""
    assert api_key() is None
    (tmp_path / "key").write_text("from-file\nanother line\n")
    monkeypatch.setenv("TEACHER_API_KEY_FILE", str(tmp_path / "key"))
    assert api_key() == "from-file"
    monkeypatch.setenv("TEACHER_API_KEY", "from-variable")
    assert api_key() == "from-variable"


def test_unreadable_key_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEACHER_API_KEY_FILE", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"TEACHER_API_KEY_FILE: cannot read .*absent"):
        api_key()


def test_key_that_no_header_can_carry_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pasted character outside ASCII is a mistake to report, and not by showing the key."""
    monkeypatch.setenv("TEACHER_API_KEY", "clé-secrète")
    config = _config(tmp_path, give_up_after_seconds=0)
    with pytest.raises(WorkerError, match="API_KEY") as raised, connect(config):
        pytest.fail("there is no teacher")
    assert "clé" not in str(raised.value)


def test_retries_of_one_kind_are_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their numbers are; another failure is reported as well."""
    said: list[str] = []

    @contextmanager
    def teacher_at(_: object, *, on_retry: Callable[[str], None], **_options: object) -> Iterator[FakeTeacher]:
        for message in ("no connection; in 0.5 s", "no connection; in 10 s", "busy; in 1 s", "busy; in 2.5 s"):
            on_retry(message)
        yield FakeTeacher()

    monkeypatch.setattr("distill_worker.runs.purchase.teacher_at", teacher_at)
    with connect(_config(tmp_path), said.append):
        assert said == ["no connection; in 0.5 s", "busy; in 1 s"]


def test_teacher_url_in_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEACHER_URL", "http://127.0.0.1:1")
    config = _config(tmp_path, url="http://127.0.0.1:2", give_up_after_seconds=0)
    with pytest.raises(TeacherUnavailable, match=r"^http://127\.0\.0\.1:1: "), connect(config):
        pytest.fail("there is no teacher")
