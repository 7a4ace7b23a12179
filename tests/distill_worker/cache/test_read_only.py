"""A cache that can only be read, as on a read-only mount: it is read as it is, and nothing is bought for it."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from distill_worker.cache import Cache
from distill_worker.cache.summary import summarise
from distill_worker.errors import CacheError
from shared.sample_key import sample_keys
from tests.distill_worker.fake_teacher import FakeTeacher
from tests.distill_worker.purchases import Samples, cached_outputs, carry_out, plan_for

IMAGES = np.random.default_rng(20261128).integers(0, 256, (12, 1, 2, 2), dtype=np.uint8)
SAMPLES: Samples = dict(zip(sample_keys(IMAGES), IMAGES, strict=True))
HELD = dict(list(SAMPLES.items())[:8])
FIRST_RELEASE = Path(__file__).parent / "database" / "first-release.sqlite"

Lock = Callable[[Path], Path]


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lock]:
    """Make a file, those beside it and their folder read-only; all is undone at the end.

    A superuser may write all the same, so the permissions are what their bits say.
    """

    def access(path: Path, mode: int) -> bool:
        bits = stat.S_IMODE(path.stat().st_mode)
        return not (mode & os.W_OK) or bool(bits & stat.S_IWUSR)

    folders: list[Path] = []

    def lock(file: Path) -> Path:
        monkeypatch.setattr(os, "access", access)
        folders.append(file.parent)
        for path in file.parent.iterdir():
            path.chmod(0o555 if path.is_dir() else 0o444)
        file.parent.chmod(0o555)
        return file

    yield lock
    for folder in folders:
        folder.chmod(0o755)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A cache with eight of twelve outputs."""
    path = tmp_path / "mount" / "cache.sqlite"
    with Cache(path) as cache:
        carry_out(FakeTeacher(), cache, HELD)
    return path


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_all_that_is_held_is_read_and_nothing_is_written(place: Path, locked: Lock) -> None:
    with Cache(place) as cache:
        expected = cached_outputs(cache, cache.stream("t", "logits"), SAMPLES)
        summary = summarise(cache).facts()
    before = _content(place.parent)
    with Cache(locked(place)) as cache:
        outputs = cached_outputs(cache, cache.stream("t", "logits"), SAMPLES)
        assert {key: output.tobytes() for key, output in outputs.items()} == {
            key: output.tobytes() for key, output in expected.items()
        }
        assert len(outputs) == 8
        assert summarise(cache).facts() == summary
        assert cache.missing(cache.stream("another", "logits"), SAMPLES) == list(SAMPLES)
        cache.save_teacher("somewhere", {"id": "t"})
    assert _content(place.parent) == before


def test_plan_is_made_and_nothing_is_bought(place: Path, locked: Lock) -> None:
    """The error comes before the first call."""
    teacher = FakeTeacher()
    with Cache(locked(place)) as cache:
        assert len(plan_for(teacher, cache, SAMPLES).to_buy) == 4
        with pytest.raises(CacheError, match=r"can only be read; nothing was spent\. Choose another output\.cache"):
            carry_out(teacher, cache, SAMPLES)
    assert teacher.paid == 0


def test_cache_of_an_earlier_version_is_read_and_stays_as_it_was(tmp_path: Path, locked: Lock) -> None:
    (tmp_path / "mount").mkdir()
    place = Path(shutil.copy(FIRST_RELEASE, tmp_path / "mount" / "cache.sqlite"))
    before = _content(place.parent)
    with Cache(locked(place)) as cache:
        assert len(cache.holdings(cache.stream("teacher-a", "logits"))) == 7
    assert _content(place.parent) == before


_KILLED = """
import os, sys
from pathlib import Path
from distill_worker.cache import Cache

cache = Cache(Path(sys.argv[1]))
cache.stream("the last one", "logits")
os._exit(0)
"""


def _with_a_log(place: Path) -> Path:
    """Its writer was killed: the last transaction is in the log only."""
    subprocess.run([sys.executable, "-c", _KILLED, str(place)], check=True, cwd=Path(__file__).parents[3])
    assert place.with_name("cache.sqlite-wal").stat().st_size
    return place


def test_transactions_that_are_in_the_log_only_are_read_too(place: Path, locked: Lock) -> None:
    with Cache(locked(_with_a_log(place))) as cache:
        assert cache.teachers() == ["t", "the last one"]


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_log_that_cannot_be_read_is_named_rather_than_passed_over(place: Path, locked: Lock, suffix: str) -> None:
    """Without its index, which SQLite would have to write; a cache that seems to hold less would be paid for again."""
    log = place.with_name("cache.sqlite-wal")
    _with_a_log(place).with_name("cache.sqlite-shm").unlink()
    log.rename(f"{place}{suffix}")
    with pytest.raises(CacheError, match=rf"its last transactions are in cache\.sqlite{suffix}.*copy both files"):
        Cache(locked(place))


def test_writable_cache_beside_it_goes_on_as_before(place: Path, locked: Lock, tmp_path: Path) -> None:
    copy = Path(shutil.copy(locked(place), tmp_path / "copy.sqlite"))
    copy.chmod(0o644)
    teacher = FakeTeacher()
    with Cache(copy) as cache:
        assert carry_out(teacher, cache, SAMPLES) == 4
