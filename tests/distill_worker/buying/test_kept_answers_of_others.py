"""What a worker with other settings buys from a vendor is read, and not bought again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill_worker.buying.fetch import fetch
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.data.pictures.reading import Picture
from distill_worker.errors import PlanRefused
from shared.sample_key import sample_key
from tests.distill_worker.buying.vendor import GOOD, Vendor, buy, order_of, scores
from tests.distill_worker.purchases import Samples


@pytest.fixture
def cache(ledger_place: Path | str) -> Iterator[Cache]:
    with Cache(ledger_place) as opened:
        yield opened


OTHER_SETTINGS: dict[str, dict[str, Any]] = {
    "labels": {"labels": {"cat": 1, "dog": 0}},
    "top_k": {"top_k": 1},
    "unreadable": {"labels": {"cat": 0, "hound": 1}},
}


@pytest.mark.parametrize("settings", OTHER_SETTINGS.values(), ids=OTHER_SETTINGS)
def test_samples_that_a_worker_with_other_settings_is_buying_are_paid_once(
    cache: Cache, samples: Samples, ledger_place: Path | str, settings: dict[str, Any]
) -> None:
    """Its answers come while this one waits for them; they are read, not bought."""
    vendor, is_readable = Vendor(GOOD), settings is not OTHER_SETTINGS["unreadable"]
    with (
        Cache(ledger_place) as theirs,
        order_of(vendor, theirs, samples) as other,
        order_of(vendor, cache, samples, **settings) as order,
        theirs.buying() as their_lock,
        cache.buying() as buyer,
    ):
        begun = theirs.claim(other.claims(), their_lock, 6)

        def answer_one(_seconds: float) -> None:
            purchase = begun.pop()
            images = np.stack([samples[key] for key in purchase.sample_keys])
            answer = other.teacher.buy(
                images,
                description=other.description,
                idempotency_key=purchase.idempotency_key,
                outputs=purchase.kinds,
            )
            theirs.complete(purchase, answer.outputs, teacher_id=answer.teacher_id, raw=answer.raw)

        made = plan(order)
        assert (made.elsewhere, len(made.to_buy)) == (6, 6)
        if is_readable:
            assert fetch(order, made, samples, buyer=buyer, sleep=answer_one) == 6
            assert plan(order).cached == len(samples)
        else:
            vendor.bodies = [scores(("cat", 0.75), ("hound", 0.25))] * 6 + [GOOD]
            with pytest.raises(PlanRefused, match=r"cached: 6 samples; not bought: 6 samples"):
                fetch(order, made, samples, buyer=buyer, sleep=answer_one)
    assert vendor.charged == len(samples)


def test_samples_that_a_worker_with_other_settings_bought_since_the_plan_are_not_bought(
    cache: Cache, samples: Samples, ledger_place: Path | str
) -> None:
    """As while a user reads the price."""
    vendor = Vendor(GOOD)
    with (
        Cache(ledger_place) as theirs,
        order_of(vendor, theirs, samples) as other,
        order_of(vendor, cache, samples, labels={"cat": 1, "dog": 0}) as order,
    ):
        made = plan(order)
        assert len(made.to_buy) == len(samples)
        buy(other, samples)
        with cache.buying() as buyer:
            assert fetch(order, made, samples, buyer=buyer, bound=True) == 0
        assert plan(order).cached == len(samples)
    assert vendor.charged == len(samples)


def test_file_that_a_worker_bought_in_another_size_since_the_plan_is_not_bought(
    cache: Cache, ledger_place: Path | str, tmp_path: Path
) -> None:
    """The same file is another sample in another `data.image_size`."""
    place = tmp_path / "pet.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(place)
    small, large = (np.full((1, size, size), 7, np.uint8) for size in (4, 8))
    vendor = Vendor(GOOD)
    with (
        Cache(ledger_place) as theirs,
        order_of(vendor, theirs, {sample_key(small): small}, sends_files=True) as other,
        order_of(vendor, cache, {sample_key(large): large}, sends_files=True) as order,
    ):
        for of, image in ((other, small), (order, large)):
            of.teacher.use_files({sample_key(image): [Picture.at(str(place))]})
        made = plan(order)
        buy(other, other.samples)
        with cache.buying() as buyer:
            assert fetch(order, made, order.samples, buyer=buyer) == 0
        assert plan(order).cached == 1
    assert vendor.charged == 1
