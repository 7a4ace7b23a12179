"""Whatever happens to the file, what is whole goes on being served, and nothing is deleted."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from distill_worker.cache import Cache
from distill_worker.cache.verify import verify
from distill_worker.errors import CacheError

KEYS = [bytes([index]) * 32 for index in range(6)]
LOGITS = np.random.default_rng(3).standard_normal((6, 5)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.sqlite"


@pytest.fixture
def cache(path: Path) -> Iterator[Cache]:
    """Two blocks: of four samples, and of two."""
    with Cache(path, clock=lambda: 1000.0) as opened:
        for some in (slice(4), slice(4, 6)):
            purchase = opened.intend(opened.stream("t", "logits"), KEYS[some], payer="alice")
            opened.complete(purchase, {"logits": LOGITS[some]})
        yield opened


def _spoil(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def test_whole_cache_has_no_damage(cache: Cache) -> None:
    seen: list[tuple[int, int]] = []
    found = verify(cache, progress=lambda done, of: seen.append((done, of)))
    assert (found.outputs, found.damages, found.repaired) == (6, [], 0)
    assert seen == [(2, 2)]


def test_outputs_of_samples_that_the_data_set_has_not_are_counted(cache: Cache) -> None:
    assert verify(cache, known_keys=set(KEYS[1:])).strangers == 1


def _vectors(**changed: float) -> bytes:
    values = LOGITS[:4].copy()
    for row, value in changed.items():
        values[int(row[1:]), 2] = value
    return values.tobytes()


_VECTORS_OF_1 = "UPDATE blocks SET vectors = ? WHERE id = 1"
_KEYS_OF_1 = "UPDATE purchases SET sample_keys = ? WHERE id = 1"


@pytest.mark.parametrize(
    ("statement", "value", "bad", "reason"),
    [
        (_VECTORS_OF_1, _vectors(r2=7.0), [2], "checksum: not the outputs"),
        (_VECTORS_OF_1, _vectors(r0=1.0, r3=np.nan), [0, 3], "checksum: not"),
        (_VECTORS_OF_1, LOGITS[:3].tobytes()[:-4], range(4), "length: 56 bytes"),
        (_VECTORS_OF_1, b"", range(4), "length: 0 bytes"),
        ("UPDATE blocks SET row_checksums = ? WHERE id = 1", b"abc", range(4), "checksums: 3 bytes"),
        ("UPDATE blocks SET checksum = ? WHERE id = 1", 5, [], "checksum: of the block alone"),
        (
            "UPDATE purchases SET sample_keys = ? WHERE id = 1",
            b"".join([KEYS[0], KEYS[5], *KEYS[2:4]]),
            [1],
            "checksum",
        ),
        ("UPDATE purchases SET sample_keys = ? WHERE id = 1", b"short", range(4), "sample keys: 5 bytes"),
    ],
)
def test_damage_is_found_and_only_what_is_damaged_moves_aside(
    cache: Cache, path: Path, statement: str, value: object, bad: list[int], reason: str
) -> None:
    """Found by looking; left as it is until a repair is asked for; then what is whole is served again."""
    _spoil(path, statement, value)
    (damage,) = verify(cache).damages
    assert damage.reason.startswith(reason)
    assert damage.teacher_id == "t"
    assert verify(cache).damages == [damage], "looking changes nothing"
    with closing(sqlite3.connect(path)) as connection:
        before = connection.execute("SELECT vectors FROM blocks WHERE id = 1").fetchone()
    assert verify(cache, repair=True).repaired == damage.rows
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT vectors FROM set_aside").fetchall() == [before], "nothing is deleted"
    with Cache(path) as again:
        held = again.outputs(again.stream("t", "logits"), KEYS)
        whole = [index for index in range(6) if index not in list(bad)]
        assert {key: row.tobytes() for key, row in held.items()} == {
            KEYS[index]: LOGITS[index].tobytes() for index in whole
        }
        assert verify(again).damages == []


def test_values_that_are_not_finite_are_found_though_they_were_kept_so(cache: Cache) -> None:
    purchase = cache.intend(cache.stream("u", "logits"), KEYS[:2], payer="alice")
    cache.complete(purchase, {"logits": np.array([[1, 2], [np.inf, 0]], np.float32)})
    (damage,) = verify(cache, repair=True).damages
    assert (damage.reason, damage.rows) == ("not finite", 1)


def test_purchase_without_its_outputs_is_told(cache: Cache, path: Path) -> None:
    _spoil(path, "DELETE FROM blocks WHERE id = 2")
    (damage,) = verify(cache).damages
    assert (damage.place, damage.rows, damage.reason) == ("purchase 2", 2, "paid for, and no outputs are kept")


@pytest.mark.usefixtures("cache")
def test_file_that_sqlite_finds_damaged_is_named(path: Path) -> None:
    """Pages overwritten in the middle of the file."""
    _spoil(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[8192:20480] = bytes(12288)
    path.write_bytes(content)
    with Cache(path) as damaged, pytest.raises(CacheError, match=r"cache\.sqlite"):
        verify(damaged)
