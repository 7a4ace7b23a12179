"""A cache of any release opens, and every output in it is served."""

import shutil
import sqlite3
import zlib
from contextlib import closing
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine

from distill_worker.cache import Cache
from distill_worker.cache.database import schema, schema_version
from distill_worker.cache.database.engine import open_database
from distill_worker.errors import CacheError
from shared.sample_key import sample_keys
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.purchases import cached_outputs, carry_out
from tests.postgresql import PostgresServer

HERE = Path(__file__).parent
LOGITS = (np.arange(120, dtype=np.float32).reshape(12, 10) / 7 - 5).astype(np.float32)
IMAGES = np.random.default_rng(20261123).integers(0, 256, (12, 1, 2, 2), dtype=np.uint8)
"""What the file of the first release was written from, by the code of that release."""
KEYS = sample_keys(IMAGES)


@pytest.fixture
def first_release(tmp_path: Path) -> Path:
    return Path(shutil.copy(HERE / "first-release.sqlite", tmp_path / "cache.sqlite"))


def test_every_output_of_the_first_release_is_served(first_release: Path) -> None:
    """Seven of one teacher, bought in two purchases that overlap, and three of another; bit for bit."""
    with Cache(first_release) as cache:
        a, b = cache.stream("teacher-a", "logits"), cache.stream("teacher-b", "logits")
        assert cache.missing(a, KEYS) == KEYS[7:]
        assert cache.aligned(a, KEYS[6::-1]).tobytes() == LOGITS[6::-1].tobytes()
        assert cache.aligned(b, KEYS[:3]).tobytes() == (-LOGITS[:3]).tobytes()
        assert [(record.status, record.payer, len(record.sample_keys)) for record in cache.purchases()] == [
            ("done", "alice", 4),
            ("done", "alice", 5),
            ("done", "bob", 3),
            ("open", "alice", 2),
            ("void", "alice", 3),
        ]


def test_teacher_of_the_first_release_may_name_its_classes_now(first_release: Path) -> None:
    """Earlier versions stored no names; those that are stored first stay."""
    with Cache(first_release) as cache:
        assert cache.class_names("teacher-a") is None
        cache.save_class_names("teacher-a", None)
        assert cache.class_names("teacher-a") is None
        for names in (["cat", "dog"], ["dog", "cat"]):
            cache.save_class_names("teacher-a", names)
            assert cache.class_names("teacher-a") == ("cat", "dog")


def test_purchase_left_open_by_the_first_release_is_repeated_under_its_key(first_release: Path) -> None:
    with closing(sqlite3.connect(first_release)) as connection:
        ((key,),) = connection.execute("SELECT idempotency_key FROM purchases WHERE status = 'open'")
    teacher = FakeTeacher(description=describe("teacher-a"))
    with Cache(first_release) as cache:
        assert carry_out(teacher, cache, dict(zip(KEYS, IMAGES, strict=True))) == 5
    assert teacher.sent[0] == (key, KEYS[7:9])
    assert teacher.paid == 5


def test_maps_of_a_later_version_keep_their_shape(tmp_path: Path) -> None:
    """Logits and features bought at once; of the sample that was bought twice the first logits count."""
    images = np.random.default_rng(20261124).integers(0, 256, (6, 1, 2, 2), dtype=np.uint8)
    keys, maps = sample_keys(images), np.arange(108, dtype=np.float32).reshape(6, 2, 3, 3)
    with Cache(Path(shutil.copy(HERE / "with-features.sqlite", tmp_path))) as cache:
        assert np.array_equal(cache.aligned(cache.stream("teacher-a", "features.layer1"), keys[1:5]), maps[1:5])
        assert np.array_equal(cache.aligned(cache.stream("teacher-a", "logits"), keys[:5]), LOGITS[:5])
        (opened,) = cache.open_purchases("teacher-a")
        assert (opened.kinds, opened.sample_keys) == (("features.layer1", "logits"), (keys[5],))


def _differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), schema.metadata)
    return [change for change in found if "alembic_version" not in str(change)]


def test_migrated_tables_are_those_of_a_new_cache(first_release: Path, tmp_path: Path) -> None:
    for path in (first_release, tmp_path / "new.sqlite"):
        with Cache(path):
            pass
        engine = open_database(path)
        # SQLite keeps texts of any length, so an old column that says a smaller one is as good.
        assert [change for change in _differences(engine) if "VARCHAR(length=40)" not in str(change)] == []
        engine.dispose()


def test_cache_on_postgresql_has_the_same_tables(postgres_server: PostgresServer) -> None:
    with postgres_server.database() as url:
        with Cache(url):
            pass
        engine = open_database(url)
        assert _differences(engine) == []
        engine.dispose()


def test_migration_that_fails_leaves_the_file_as_it_was(first_release: Path) -> None:
    """All of it is one transaction; the next attempt finds every row."""
    with closing(sqlite3.connect(first_release)) as connection, connection:
        before = connection.execute("SELECT * FROM outputs").fetchall()
        last = connection.execute(
            "SELECT * FROM purchases WHERE id = (SELECT MAX(purchase_id) FROM outputs)"
        ).fetchone()
        connection.execute("DELETE FROM purchases WHERE id = ?", last[:1])  # the last group of rows cannot be moved
    with pytest.raises(CacheError, match="No row was found"):
        Cache(first_release)
    with closing(sqlite3.connect(first_release)) as connection, connection:
        assert connection.execute("SELECT * FROM outputs").fetchall() == before
        connection.execute(f"INSERT INTO purchases VALUES ({','.join('?' * len(last))})", last)
    with Cache(first_release) as cache:
        assert len(cached_outputs(cache, cache.stream("teacher-a", "logits"), KEYS)) == 7


def test_full_disk_during_the_migration_is_a_cache_error(first_release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The migration packs its rows, and fails as it would when a file cannot grow; the next attempt finds every row."""

    def fail(_content: bytes) -> int:
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(zlib, "crc32", fail)  # the migration, which is loaded only now, imports it to pack a block
        with pytest.raises(CacheError, match="No space left on device"):
            Cache(first_release)
    with Cache(first_release) as cache:
        assert len(cached_outputs(cache, cache.stream("teacher-a", "logits"), KEYS)) == 7


def test_row_that_no_block_can_hold_is_set_aside(first_release: Path) -> None:
    """A vector cut short in the file: its neighbours are served, it is not lost, and it is bought again."""
    with closing(sqlite3.connect(first_release)) as connection, connection:
        connection.execute("UPDATE outputs SET vector = x'00000000' WHERE sample_key = ? AND stream_id = 1", (KEYS[1],))
    with Cache(first_release) as cache:
        assert cache.missing(cache.stream("teacher-a", "logits"), KEYS[:7]) == [KEYS[1]]
    with closing(sqlite3.connect(first_release)) as connection:
        assert connection.execute("SELECT vectors, reason FROM set_aside").fetchall() == [
            (bytes(4), "length: 4 bytes, found when the cache was brought up to date")
        ]


def test_cache_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with Cache(tmp_path / "cache.sqlite"):
        pass
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CacheError, match=rf"version {schema_version.HEAD} at most, got version 9999"):
        Cache(tmp_path / "cache.sqlite")


def test_version_is_that_of_the_last_migration() -> None:
    versions = Path(schema_version.__file__).parent / "migrations" / "versions"
    assert max(path.stem.partition("_")[0] for path in versions.glob("0*.py")) == schema_version.HEAD
