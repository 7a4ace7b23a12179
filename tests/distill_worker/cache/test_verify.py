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
from tests.distill_worker.purchases import cached_outputs, intend

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
            purchase = intend(opened, opened.stream("t", "logits"), KEYS[some], payer="alice")
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
    assert verify(cache, dataset_keys=set(KEYS[1:])).strangers == 1


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
        (_VECTORS_OF_1, _vectors(r2=7.0), [2], "checksum: the outputs changed"),
        (_VECTORS_OF_1, _vectors(r0=1.0, r3=np.nan), [0, 3], "checksum: the outputs changed"),
        (_VECTORS_OF_1, LOGITS[:3].tobytes()[:-4], range(4), "length: 56 bytes"),
        (_VECTORS_OF_1, b"", range(4), "length: 0 bytes"),
        ("UPDATE blocks SET row_checksums = ? WHERE id = 1", b"abc", range(4), "checksums: 3 bytes"),
        ("UPDATE blocks SET checksum = ? WHERE id = 1", 5, [], "checksum: of the block alone"),
        (
            _KEYS_OF_1,
            b"".join([KEYS[0], KEYS[5], *KEYS[2:4]]),
            [1],
            "checksum",
        ),
        (_KEYS_OF_1, b"short", range(4), "sample keys: 5 bytes"),
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
        held = cached_outputs(again, again.stream("t", "logits"), KEYS)
        whole = [index for index in range(6) if index not in list(bad)]
        assert {key: row.tobytes() for key, row in held.items()} == {
            KEYS[index]: LOGITS[index].tobytes() for index in whole
        }
        assert verify(again).damages == []


def test_values_that_are_not_finite_are_found_though_they_were_kept_so(cache: Cache) -> None:
    purchase = intend(cache, cache.stream("u", "logits"), KEYS[:2], payer="alice")
    cache.complete(purchase, {"logits": np.array([[1, 2], [np.inf, 0]], np.float32)})
    (damage,) = verify(cache, repair=True).damages
    assert (damage.reason, damage.rows) == ("not finite", 1)


MAPS = np.random.default_rng(4).standard_normal((6, 2, 3)).astype(np.float32)


def _three_purchases(cache: Cache, kind: str, values: np.ndarray) -> int:
    stream_id = cache.stream("u", kind)
    for some in (slice(2), slice(2, 4), slice(4, 6)):
        cache.complete(intend(cache, stream_id, KEYS[some], payer="alice"), {kind: values[some]})
    return stream_id


@pytest.mark.parametrize(("kind", "served"), [("features.a", (6,)), ("top_k:3", (3, 2)), ("logits", (6,))])
@pytest.mark.parametrize("told", ["2,4", "2,,3"])
def test_shape_that_contradicts_most_blocks_is_to_blame(
    cache: Cache, path: Path, kind: str, served: tuple[int, ...], told: str
) -> None:
    """Not one output is set aside; what the blocks have is served."""
    values = MAPS.reshape(6, *served) if kind != "features.a" else MAPS
    stream_id = _three_purchases(cache, kind, values)
    _spoil(path, "INSERT OR REPLACE INTO stream_shapes VALUES (?, ?)", stream_id, told)
    (damage,) = verify(cache, repair=True).damages
    assert (damage.place, damage.rows, damage.reason) == (
        f"stream {stream_id}",
        0,
        f"shape: {told}, of outputs of 6 values",
    )
    assert verify(cache).damages == []
    assert cache.aligned(stream_id, KEYS).tobytes() == values.tobytes()
    assert cache.aligned(stream_id, KEYS).shape[1:] == served


def test_block_of_another_width_than_most_is_moved_aside(cache: Cache) -> None:
    """Though it came first."""
    stream_id = cache.stream("u", "logits")
    cache.complete(intend(cache, stream_id, [bytes([9]) * 32], payer="alice"), {"logits": np.ones((1, 7), np.float32)})
    _three_purchases(cache, "logits", MAPS.reshape(6, 6))
    (damage,) = verify(cache, repair=True).damages
    assert (damage.rows, damage.reason) == (1, "length: 7 values a sample, where 6 are expected")
    with Cache(Path(cache.place)) as again:
        assert again.aligned(stream_id, KEYS).shape == (6, 6)


def test_two_that_repair_at_once_move_a_block_aside_once(cache: Cache, path: Path) -> None:
    """Another repairs when this one has read the block and is about to move it."""
    _spoil(path, _VECTORS_OF_1, _vectors(r2=7.0))
    real, others = cache.now, list[int]()

    def now() -> float:
        if not others:
            others.append(0)
            with Cache(path) as other:
                others.append(verify(other, repair=True).repaired)
        return real()

    cache.now = now  # type: ignore[method-assign]
    found = verify(cache, repair=True)
    assert found.repaired + others[-1] == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM set_aside").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM blocks").fetchone() == (2,)


def test_purchase_without_its_outputs_is_told(cache: Cache, path: Path) -> None:
    _spoil(path, "DELETE FROM blocks WHERE id = 2")
    (damage,) = verify(cache).damages
    assert (damage.place, damage.rows, damage.reason) == ("purchase 2", 2, "paid for, but no outputs are cached")


@pytest.mark.usefixtures("cache")
def test_file_that_sqlite_finds_damaged_is_named(path: Path) -> None:
    """Pages overwritten in the middle of the file."""
    _spoil(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[8192:20480] = bytes(12288)
    path.write_bytes(content)
    with Cache(path) as damaged, pytest.raises(CacheError, match=r"cache\.sqlite"):
        verify(damaged)
