"""A file of outputs comes from others: whatever it says, it spoils nothing that is held, and is added whole or not."""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from safetensors.numpy import save_file
from sqlalchemy import Engine, event

from distill_worker.cache import Cache
from distill_worker.cache.exchange.export_import import import_file
from distill_worker.cache.summary import summarise
from distill_worker.cache.verify import verify
from distill_worker.errors import CacheError
from tests.distill_worker.purchases import intend

KEYS = [bytes([index]) * 32 for index in range(8)]
OURS = np.arange(12, dtype=np.float32).reshape(4, 3)
TOLD: dict[str, Any] = {
    "idempotency_key": "k",
    "query_id": "q",
    "model_version": "t",
    "created_at": 1.0,
    "finished_at": 2.0,
}


@pytest.fixture
def cache(ledger_place: Path | str) -> Iterator[Cache]:
    """Of t it holds vectors of three logits, and maps of two by three."""
    with Cache(ledger_place) as opened:
        for kind, values in (("logits", OURS), ("features.a", np.ones((4, 2, 3), np.float32))):
            opened.complete(intend(opened, opened.stream("t", kind), KEYS[:4], payer="alice"), {kind: values})
        yield opened


def _file(folder: Path, *streams: dict[str, Any]) -> Path:
    """As `cache export` writes it: outputs of the last four samples, three logits each, but for what is said."""
    tensors, heads, class_names = {}, [], None
    for index, said in enumerate(streams):
        values = said.pop("values", np.ones((4, 3), np.float32))
        tensors[f"{index}.sample_keys"] = np.frombuffer(b"".join(KEYS[4:]), np.uint8).reshape(4, 32)
        tensors[f"{index}.values"] = values
        tensors[f"{index}.purchase"] = said.pop("purchase", np.zeros(4, np.int64))
        told = [TOLD | said.pop("told", {})]
        class_names = said.pop("class_names", None)
        heads.append({"teacher_id": "t", "kind": "logits", "shape": values.shape[1:], "purchases": told, **said})
    path = folder / "bought.safetensors"
    metadata = {"format": "tuition-cache-1", "streams": json.dumps(heads)}
    if class_names is not None:
        metadata["class_names"] = json.dumps({"t": class_names})
    save_file(tensors, path, metadata=metadata)
    return path


def _assert_refused(cache: Cache, path: Path, expected: str) -> None:
    before = list(cache.purchases()), cache.teachers()
    with pytest.raises(CacheError, match=expected):
        import_file(cache, path)
    assert (list(cache.purchases()), cache.teachers()) == before
    assert cache.aligned(cache.stream("t", "logits"), KEYS[:4]).tolist() == OURS.tolist()
    assert verify(cache).damages == []


_NOTHING = np.ones((4, 0), np.float32)
_PAIRS = np.ones((4, 2, 3), np.float32).reshape(4, 6)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"values": np.ones((4, 5), np.float32)}, r"shape \[3\], as in the cache, got \[5\]"),
        ({"values": _PAIRS, "kind": "features.a"}, r"shape \[2, 3\], as in the cache, got \[6\]"),
        ({"values": _PAIRS, "kind": "features.a", "shape": [3, 2]}, r"got \[3, 2\]"),
        ({"values": _PAIRS, "teacher_id": "u", "shape": [2, 3]}, r"an output's shape, got \[2, 3\]"),
        ({"values": _NOTHING, "shape": [2**32, 2**32]}, "an output for each sample"),
        ({"values": _NOTHING}, r"sizes from 1, got \[0\]"),
        ({"shape": [-1, -3]}, "sizes from 1"),
        ({"shape": []}, "sizes from 1"),
        ({"shape": [1] * 50 + [3]}, "sizes from 1"),
        ({"shape": [math.inf]}, "cache export"),
        ({"values": np.full((4, 3), np.nan, np.float32)}, "finite outputs"),
        ({"kind": "a+b"}, "a kind of output, got 'a[+]b'"),
        ({"kind": "features.a+b"}, "a kind of output"),
        ({"kind": "best guesses"}, "a kind of output"),
        ({"kind": None}, "a kind of output"),
        ({"teacher_id": None}, "a teacher's id of up to 200 characters, got 'None'"),
        ({"teacher_id": "t" * 201}, "a teacher's id"),
        ({"teacher_id": "t\0"}, "a teacher's id"),
        ({"teacher_id": "\ud800"}, "a teacher's id"),
        ({"told": {"idempotency_key": 5}}, "text or nothing as idempotency_key"),
        ({"told": {"query_id": {"a": 1}}}, "text or nothing as query_id"),
        ({"told": {"model_version": ["t"]}}, "text or nothing as model_version"),
        ({"told": {"created_at": None}}, "time as created_at"),
        ({"told": {"created_at": True}}, "time as created_at"),
        ({"told": {"finished_at": "soon"}}, "time or nothing as finished_at"),
        ({"told": {"finished_at": math.inf}}, "time or nothing as finished_at"),
        ({"told": {"finished_at": 10**400}}, "time or nothing as finished_at"),
        ({"purchase": np.zeros(4, np.float32)}, "a purchase for each sample"),
        ({"purchase": np.full(4, 7)}, "a purchase for each sample"),
        ({"class_names": ["a", "b"]}, "a class name for each class, got 2 names"),
        ({"class_names": ["a", "b", 3]}, "a class name for each class"),
        ({"class_names": 3}, "cache export"),
    ],
)
def test_what_is_not_as_expected_adds_nothing(
    cache: Cache, tmp_path: Path, said: dict[str, Any], expected: str
) -> None:
    """Nor does the good stream before it."""
    _assert_refused(cache, _file(tmp_path, {"teacher_id": "v"}, dict(said)), expected)


def test_one_stream_twice_is_refused(cache: Cache, tmp_path: Path) -> None:
    _assert_refused(cache, _file(tmp_path, {}, {}), "of one kind once, in one shape")


_COLUMNS = {
    "teacher_id": ("t", pa.string()),
    "output_kind": ("logits", pa.string()),
    "shape": ([3], pa.list_(pa.int32())),
    "sample_key": (KEYS[7], pa.binary()),
    "values": ([1.0, 2.0, 3.0], pa.list_(pa.float32())),
    **{name: (value, pa.string() if isinstance(value, str) else pa.float64()) for name, value in TOLD.items()},
}


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("sample_key", None, "sample keys of 32 bytes"),
        ("sample_key", b"short", "sample keys of 32 bytes"),
        ("teacher_id", None, "a teacher's id"),
        ("output_kind", None, "a kind of output"),
        ("values", None, "other lengths than 3"),
        ("values", [1.0, None, 3.0], "cache export"),
        ("shape", None, "cache export"),
        ("shape", [None], "cache export"),
        ("shape", [-1], "other lengths than -1"),
        ("created_at", None, "time as created_at"),
    ],
)
def test_row_without_what_it_needs_adds_nothing(
    cache: Cache, tmp_path: Path, column: str, value: object, expected: str
) -> None:
    schema = pa.schema([(name, kind) for name, (_, kind) in _COLUMNS.items()], metadata={"format": "tuition-cache-1"})
    row = {name: [value if name == column else usual] for name, (usual, _) in _COLUMNS.items()}
    parquet.write_table(pa.table(row, schema), tmp_path / "bought.parquet")
    _assert_refused(cache, tmp_path / "bought.parquet", expected)


def test_names_too_long_are_kept_as_far_as_they_can_be(cache: Cache, tmp_path: Path) -> None:
    told = {"idempotency_key": None, "query_id": "q" * 300, "model_version": "a\0b", "finished_at": None}
    assert import_file(cache, _file(tmp_path, {"told": told})) == (4, 4)
    record = list(cache.purchases())[-1]
    assert (record.query_id, record.model_version, record.finished_at) == ("q" * 200, "ab", None)
    assert summarise(cache).purchases == {"done": 2, "imported": 1}


def test_many_small_purchases_are_added_in_few_statements(cache: Cache, tmp_path: Path) -> None:
    """Whoever buys meanwhile waits as long; each output stays with the purchase that brought it."""
    samples = 20_000
    keys = [hashlib.sha256(index.to_bytes(4, "big")).digest() for index in range(samples)]
    values = np.arange(3 * samples, dtype=np.float32).reshape(samples, 3)
    head = {"teacher_id": "t", "kind": "logits", "shape": [3]}
    purchases = [TOLD | {"query_id": f"q{index}"} for index in range(samples)]
    tensors: dict[str, Any] = {
        "0.sample_keys": np.frombuffer(b"".join(keys), np.uint8).reshape(samples, 32),
        "0.values": values,
        "0.purchase": np.arange(samples)[::-1].copy(),
    }
    told = json.dumps([{**head, "purchases": purchases}])
    save_file(tensors, tmp_path / "many.safetensors", metadata={"format": "tuition-cache-1", "streams": told})
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert import_file(cache, tmp_path / "many.safetensors") == (samples, samples)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert cache.aligned(cache.stream("t", "logits"), keys).tobytes() == values.tobytes()
    brought = {record.query_id: record.sample_keys for record in cache.purchases() if record.status == "imported"}
    assert brought == {f"q{samples - 1 - index}": (key,) for index, key in enumerate(keys)}
    assert len(statements) < samples / 20
