"""What was bought goes to another cache as it is, and never replaces what is there."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distill_worker.cache import Cache
from distill_worker.cache.exchange.export_import import export, import_file
from distill_worker.errors import CacheError, ConfigError
from tests.distill_worker.purchases import cached_outputs, intend

KEYS = [bytes([index]) * 32 for index in range(6)]
LOGITS = np.random.default_rng(3).standard_normal((6, 5)).astype(np.float32)
MAPS = np.random.default_rng(4).standard_normal((6, 2, 3)).astype(np.float32)
SUFFIXES = pytest.mark.parametrize("suffix", [".safetensors", ".parquet"])


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """Two purchases of logits that overlap, one with maps; one of another teacher; and one that is open."""
    moments = iter(float(1000 + moment) for moment in range(100))
    with Cache(tmp_path / "cache.sqlite", clock=lambda: next(moments)) as opened:
        first = intend(opened, opened.stream("t", "logits"), KEYS[:3], payer="alice")
        opened.complete(first, {"logits": LOGITS[:3]}, query_id="q1")
        both = intend(opened, opened.order("t", ["logits", "features.a"]), KEYS[2:5], payer="alice")
        opened.complete(both, {"logits": -LOGITS[2:5], "features.a": MAPS[2:5]}, query_id="q2")
        other = intend(opened, opened.stream("u", "logits"), KEYS[5:], payer="bob")
        opened.complete(other, {"logits": LOGITS[5:]})
        intend(opened, opened.stream("t", "logits"), KEYS[5:], payer="alice")
        yield opened


@SUFFIXES
def test_another_cache_serves_what_was_exported(
    cache: Cache, ledger_place: Path | str, tmp_path: Path, suffix: str
) -> None:
    """Bit for bit, in its shape, with its provenance but for the account; a second import adds nothing."""
    path = tmp_path / f"bought{suffix}"
    assert export(cache, path) == 5 + 3 + 1
    with Cache(ledger_place) as theirs:
        assert import_file(theirs, path) == (9, 9)
        expected = np.concatenate([LOGITS[:3], -LOGITS[3:5]])
        assert theirs.aligned(theirs.stream("t", "logits"), KEYS[:5]).tobytes() == expected.tobytes()
        assert np.array_equal(theirs.aligned(theirs.stream("t", "features.a"), KEYS[2:5]), MAPS[2:5])
        assert np.array_equal(theirs.aligned(theirs.stream("u", "logits"), KEYS[5:]), LOGITS[5:])
        assert theirs.missing(theirs.stream("t", "logits"), KEYS) == KEYS[5:]
        records = {record.query_id: record for record in theirs.purchases() if record.kinds == ("logits",)}
        assert {record.status for record in records.values()} == {"imported"}
        assert {record.payer for record in records.values()} == {""}
        original = next(record for record in cache.purchases() if record.query_id == "q1")
        told = records["q1"]
        assert (told.created_at, told.finished_at, told.model_version) == (
            original.created_at,
            original.finished_at,
            "t",
        )
        assert original.idempotency_key in told.idempotency_key
        assert import_file(theirs, path) == (0, 9)


@SUFFIXES
def test_what_is_held_is_never_replaced(cache: Cache, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bought{suffix}"
    export(cache, path)
    with Cache(tmp_path / "theirs.sqlite") as theirs:
        own = intend(theirs, theirs.stream("t", "logits"), KEYS[1:2], payer="carol")
        theirs.complete(own, {"logits": np.zeros((1, 5), np.float32)})
        assert import_file(theirs, path) == (8, 9)
        assert cached_outputs(theirs, theirs.stream("t", "logits"), KEYS[1:2])[KEYS[1]].tolist() == [0] * 5


CLASSES = ("cat", "d\u00f6g", "\0", "owl", "")


@SUFFIXES
def test_class_names_travel_with_the_outputs(
    cache: Cache, ledger_place: Path | str, tmp_path: Path, suffix: str
) -> None:
    """Those of the teacher that stated some; without them, nothing says what the outputs mean."""
    cache.save_class_names("t", CLASSES)
    path = tmp_path / f"bought{suffix}"
    export(cache, path)
    with Cache(ledger_place) as theirs:
        import_file(theirs, path)
        assert theirs.class_names("t") == CLASSES
        assert theirs.class_names("u") is None


@SUFFIXES
def test_outputs_in_another_order_of_classes_are_not_added(cache: Cache, tmp_path: Path, suffix: str) -> None:
    cache.save_class_names("t", CLASSES)
    path = tmp_path / f"bought{suffix}"
    export(cache, path)
    with Cache(tmp_path / "theirs.sqlite") as theirs:
        theirs.save_class_names("t", CLASSES[::-1])
        with pytest.raises(CacheError, match=r"expected the outputs of t in the order of its classes.*'cat'.*nothing"):
            import_file(theirs, path)
        assert list(theirs.purchases()) == []
        assert theirs.class_names("t") == CLASSES[::-1]


@SUFFIXES
def test_one_teacher_or_kind_may_be_exported_alone(cache: Cache, tmp_path: Path, suffix: str) -> None:
    assert export(cache, tmp_path / f"u{suffix}", teacher_id="u") == 1
    assert export(cache, tmp_path / f"maps{suffix}", kind="features.a") == 3
    with pytest.raises(CacheError, match=r"no outputs of v, kind any"):
        export(cache, tmp_path / f"v{suffix}", teacher_id="v")


def test_file_that_is_there_is_never_written_over(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "bought.safetensors"
    path.write_bytes(b"paid for")
    with pytest.raises(CacheError, match="not there yet"):
        export(cache, path)
    assert path.read_bytes() == b"paid for"


@SUFFIXES
@pytest.mark.parametrize("damage", [b"", b"no such file format", None])
def test_damaged_file_adds_nothing(cache: Cache, tmp_path: Path, suffix: str, damage: bytes | None) -> None:
    """Empty, of another kind, or cut short."""
    path = tmp_path / f"bought{suffix}"
    export(cache, path)
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    with Cache(tmp_path / "theirs.sqlite") as theirs:
        with pytest.raises(CacheError, match=r"bought.*cache export"):
            import_file(theirs, path)
        assert list(theirs.purchases()) == []


def test_absent_file_and_unknown_suffix_are_named(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"none\.parquet"):
        import_file(cache, tmp_path / "none.parquet")
    for act in (export, import_file):
        with pytest.raises(ConfigError, match=r"\.safetensors or \.parquet"):
            act(cache, tmp_path / "bought.csv")
