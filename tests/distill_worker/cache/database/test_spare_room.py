"""Spare room: a full disk loses no answer that would be paid for again."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.cache.database.spare_room import SpareRoom
from distill_worker.errors import CacheError
from distill_worker.teachers.base import Answer, Description
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.purchases import Samples, assert_bought_once, carry_out, carry_out_plan, order_for

_TOO_MUCH = 2**60
_KINDS = ("features.a", "logits")
_CHARGES_REPEATS = replace(describe(outputs={"features.a": (20_000,)}), repeats_are_free=False)
"""An answer has 80 kB a sample."""


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


def _fill(volume: Path) -> None:
    with (volume / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(512))


class _FillingTeacher(FakeTeacher):
    """The disk fills up while the second request and those beside it are in flight."""

    volume: Path
    is_full = False

    def buy(
        self,
        images: NDArray[np.uint8],
        *,
        description: Description,
        idempotency_key: str,
        outputs: tuple[str, ...] = ("logits",),
    ) -> Answer:
        answer = super().buy(images, description=description, idempotency_key=idempotency_key, outputs=outputs)
        with self._lock:
            if self.paid > len(images) and not self.is_full:
                self.is_full = True
                _fill(self.volume)
        return answer


def _carry_out(teacher: FakeTeacher, cache: Cache, samples: Samples) -> None:
    made = plan(order_for(teacher, cache, samples, kinds=_KINDS, request_size=2))
    assert made.uncertain == 0
    carry_out_plan(teacher, cache, made, samples, concurrency=3)


def test_paid_answers_in_flight_are_stored_on_a_full_disk_and_no_more_is_sent(volume: Path, samples: Samples) -> None:
    teacher = _FillingTeacher(description=_CHARGES_REPEATS)
    teacher.volume = volume
    with Cache(volume / "cache.sqlite", spare_room=SpareRoom(volume, 2**21)) as cache:
        with pytest.raises(CacheError, match=r"expected disk space for the paid answers in flight.*no more was sent"):
            _carry_out(teacher, cache, samples)
        assert 2 < teacher.paid < len(samples)
        assert len(cache.holdings(cache.stream("t", "features.a"))) == teacher.paid

        (volume / "ballast").unlink()
        _carry_out(teacher, cache, samples)
        assert_bought_once(teacher, cache, samples)


def test_nothing_is_sent_without_room_for_what_would_be_paid_for_again(tmp_path: Path, samples: Samples) -> None:
    teacher = FakeTeacher(description=replace(describe(), repeats_are_free=False))
    with Cache(tmp_path / "cache.sqlite", spare_room=SpareRoom(tmp_path, _TOO_MUCH)) as cache:
        with pytest.raises(CacheError, match="no more was sent"):
            carry_out(teacher, cache, samples)
        assert (teacher.paid, list(cache.purchases())) == (0, [])


def test_free_repeats_need_no_room(tmp_path: Path, samples: Samples) -> None:
    teacher = FakeTeacher()
    with Cache(tmp_path / "cache.sqlite", spare_room=SpareRoom(tmp_path, _TOO_MUCH)) as cache:
        carry_out(teacher, cache, samples)
        assert_bought_once(teacher, cache, samples)


def test_room_is_held_until_it_is_given_up_and_leaves_no_file(volume: Path) -> None:
    def free() -> int:
        return shutil.disk_usage(volume).free

    room, before = SpareRoom(volume, 2**21), free()
    assert not room.give_up()
    for _ in range(2):
        room.hold()
        assert (before - free(), list(volume.iterdir())) == (2**21, [])
    assert room.give_up()
    assert free() == before
    _fill(volume)
    with pytest.raises(OSError, match="No space left"):
        room.hold()
    assert not room.give_up()
