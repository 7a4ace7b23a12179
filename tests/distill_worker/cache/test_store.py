"""What was paid for is kept, under its own name, through crashes of real processes."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from distill_worker.cache import Cache
from distill_worker.errors import CacheError
from tests.distill_worker.purchases import cached_outputs, intend
from tests.endurance import HANG_SECONDS

KEYS = [bytes([index]) * 32 for index in range(4)]
ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.sqlite"


@pytest.fixture
def cache(path: Path) -> Iterator[Cache]:
    with Cache(path, clock=lambda: 1000.0) as opened:
        yield opened


def _buy(cache: Cache, stream_id: int, keys: list[bytes], rows: np.ndarray) -> None:
    purchase = intend(cache, stream_id, keys, payer="alice")
    cache.complete(purchase, dict.fromkeys(purchase.kinds, rows))


def _held(cache: Cache, stream_id: int) -> dict[bytes, list[float]]:
    return {key: row.tolist() for key, row in cached_outputs(cache, stream_id, KEYS).items()}


def test_outputs_come_back_by_sample_key(cache: Cache) -> None:
    """Bit for bit, in whatever order they are asked for; what is not held is absent."""
    stream_id = cache.stream("t", "logits")
    rows = np.array([[np.float32(0.1), -0.0], [3e38, 1e-40]], dtype=np.float32)
    _buy(cache, stream_id, [KEYS[2], KEYS[0]], rows)
    held = cached_outputs(cache, stream_id, KEYS)
    assert {key: row.tobytes() for key, row in held.items()} == {KEYS[2]: rows[0].tobytes(), KEYS[0]: rows[1].tobytes()}
    assert cache.missing(stream_id, [KEYS[3], KEYS[0], KEYS[1], KEYS[3]]) == [KEYS[3], KEYS[1]]


def test_outputs_survive_closing_and_opening(path: Path) -> None:
    with Cache(path) as first:
        _buy(first, first.stream("t", "logits"), KEYS, ROWS)
    with Cache(path) as second:
        assert _held(second, second.stream("t", "logits")) == dict(zip(KEYS, ROWS.tolist(), strict=True))


def test_bought_outputs_are_never_overwritten(cache: Cache) -> None:
    """A second purchase of the same samples adds what is new and leaves the rest."""
    stream_id = cache.stream("t", "logits")
    _buy(cache, stream_id, KEYS[:2], ROWS[:2])
    _buy(cache, stream_id, KEYS[1:3], -ROWS[1:3])
    assert _held(cache, stream_id) == {KEYS[0]: [0, 1], KEYS[1]: [2, 3], KEYS[2]: [-4, -5]}


def test_teachers_and_output_kinds_are_never_mixed(cache: Cache) -> None:
    streams = [cache.stream(teacher, kind) for teacher in ("t", "u") for kind in ("logits", "probabilities")]
    assert len(set(streams)) == 4
    assert cache.stream("t", "logits") == streams[0]
    for factor, stream_id in enumerate(streams[:3], start=1):
        _buy(cache, stream_id, KEYS[:1], factor * ROWS[3:])
    assert [_held(cache, stream_id) for stream_id in streams] == [
        {KEYS[0]: [6, 7]},
        {KEYS[0]: [12, 14]},
        {KEYS[0]: [18, 21]},
        {},
    ]
    assert cache.streams("logits") == {"t": streams[0], "u": streams[2]}


@pytest.mark.parametrize("end", ["complete", "void"])
def test_purchase_is_open_until_its_end(cache: Cache, path: Path, end: str) -> None:
    """Another process sees it open, with its key, payer and samples in order; voided, it brought nothing."""
    stream_id, other = cache.stream("t", "logits"), cache.stream("u", "logits")
    first = intend(cache, stream_id, KEYS[2:], payer="alice")
    second = intend(cache, other, KEYS[:1], payer="bob")
    assert first.idempotency_key != second.idempotency_key
    with Cache(path) as reader:
        assert reader.open_purchases("t") == [first]
        assert reader.open_purchases("u") == [second]
        if end == "complete":
            cache.complete(first, {"logits": ROWS[2:]})
        else:
            cache.void(first)
        assert reader.open_purchases("t") == []
        assert reader.open_purchases("u") == [second]
        assert len(_held(reader, stream_id)) == (2 if end == "complete" else 0)


def test_answer_of_the_wrong_length_leaves_the_purchase_open(cache: Cache) -> None:
    """Outputs and end are one transaction: neither is written without the other."""
    stream_id = cache.stream("t", "logits")
    purchase = intend(cache, stream_id, KEYS, payer="alice")
    with pytest.raises(ValueError, match="expected 4 outputs, got 3"):
        cache.complete(purchase, {"logits": ROWS[:3]})
    assert cache.open_purchases("t") == [purchase]
    assert _held(cache, stream_id) == {}


def test_purchase_larger_than_a_statement_is_kept(cache: Cache) -> None:
    """SQLite limits the variables of one statement; a paid purchase must fit whatever its size."""
    stream_id = cache.stream("t", "logits")
    keys = [index.to_bytes(32, "big") for index in range(33_000)]
    _buy(cache, stream_id, keys, np.zeros((len(keys), 1), dtype=np.float32))
    assert cache.missing(stream_id, keys) == []


@contextmanager
def _process(code: str, path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A real process with the cache opened as `cache`; killed at the end."""
    head = "import os, signal, sys, pathlib\nfrom distill_worker.cache import Cache\npath = pathlib.Path(sys.argv[1])\n"
    script = f"{head}with Cache(path) as cache:\n" + "".join(f"    {line}\n" for line in code.splitlines())
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_purchase_survives_a_kill_before_its_end(path: Path) -> None:
    """SIGKILL between the intent and `complete`: the next process finds the same Idempotency-Key."""
    code = """
from distill_worker.cache.purchases import new_purchase
stream_id = cache.stream("t", "logits")
with cache.writing() as connection:
    purchase = new_purchase(connection, stream_id, [bytes(32)], payer="alice", buyer_id=None, now=0.0)
print(purchase.idempotency_key, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with _process(code, path) as process:
        told, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    with Cache(path) as cache:
        (purchase,) = cache.open_purchases("t")
    assert purchase.idempotency_key == told.strip()
    assert (purchase.payer, purchase.sample_keys) == ("alice", (bytes(32),))


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 100)


def _cut_short(path: Path) -> None:
    with Cache(path) as cache:
        _buy(cache, cache.stream("t", "logits"), KEYS, ROWS)
    path.write_bytes(path.read_bytes()[:6000])


def _another_schema(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript("CREATE TABLE streams (name TEXT); CREATE TABLE outputs (name TEXT);")
    connection.close()


@pytest.mark.parametrize("damage", [_garbage, _cut_short, _another_schema])
def test_damaged_file_is_named(path: Path, damage: Callable[[Path], None]) -> None:
    damage(path)
    with pytest.raises(CacheError, match=r"cache\.sqlite: .*do not delete it"), Cache(path) as cache:
        cache.missing(cache.stream("t", "logits"), KEYS)


def test_damaged_output_is_named(path: Path, cache: Cache) -> None:
    stream_id = cache.stream("t", "logits")
    _buy(cache, stream_id, KEYS, ROWS)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE blocks SET vectors = x'000000'")
    connection.close()
    with pytest.raises(CacheError, match="block 1 do not match"):
        cached_outputs(cache, stream_id, KEYS)


def test_unwritable_folder_is_named(below_a_file: Path) -> None:
    with pytest.raises(CacheError, match=r"folder/cache\.sqlite"):
        Cache(below_a_file / "cache.sqlite")


def test_workers_that_start_together_open_a_new_cache(tmp_path: Path) -> None:
    """While one changes how the file is journalled, SQLite itself turns the others away at once."""
    start = Barrier(4)

    def open_each(_worker: int) -> None:
        for turn in range(100):
            start.wait(HANG_SECONDS)
            with Cache(tmp_path / str(turn)):
                pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_each, range(4)))


@pytest.mark.parametrize("name", ["50% of it.sqlite", "with#hash.sqlite", "what?.sqlite"])
def test_cache_is_kept_at_its_path_whatever_the_name(tmp_path: Path, name: str) -> None:
    """The path is not a URL: two names must never lead to one file."""
    with Cache(tmp_path / name) as cache:
        cache.stream("t", "logits")
    assert (tmp_path / name).is_file()
