"""Bought outputs as safetensors and as Parquet (extra `parquet`)."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from distill_worker.errors import CacheError
from shared.sample_key import KEY_BYTES

PROVENANCE = ("idempotency_key", "query_id", "model_version", "created_at", "finished_at")
"""The columns of a purchase in a file. The account that paid is not among them."""
_FORMAT = "tuition-cache-1"
_CLASS_NAMES = "class_names"
"""Where a file's metadata keep the class names of its teachers; earlier versions wrote none."""
UNWRITABLE = (OSError, SafetensorError)
"""What writing a file may raise, on a full disk for example."""
UNREADABLE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    SafetensorError,
)
"""The errors that a file of another kind, or a damaged one, may raise."""


@dataclass(frozen=True)
class Bought:
    """One teacher's outputs of one kind."""

    teacher_id: str
    kind: str
    shape: tuple[int, ...]
    """Of one sample's output."""
    sample_keys: tuple[bytes, ...]
    values: NDArray[np.float32]
    """float32 `[samples, values]`."""
    purchase: NDArray[np.int64]
    """Which of the purchases each sample was bought with, int64 `[samples]`."""
    purchases: tuple[dict[str, Any], ...]
    """The idempotency_key, query_id, model_version, created_at and finished_at of each."""
    class_names: tuple[str, ...] | None = None
    """Of the teacher, in the order of its outputs; None if it stated none."""


def _write_safetensors(path: Path, bought: Sequence[Bought]) -> None:
    tensors: dict[str, NDArray[Any]] = {}
    heads = []
    for index, found in enumerate(bought):
        keys = np.frombuffer(b"".join(found.sample_keys), np.uint8).reshape(-1, KEY_BYTES)
        tensors |= {f"{index}.sample_keys": keys, f"{index}.values": found.values, f"{index}.purchase": found.purchase}
        heads.append(
            {"teacher_id": found.teacher_id, "kind": found.kind, "shape": found.shape, "purchases": found.purchases}
        )
    metadata = {"format": _FORMAT, "streams": json.dumps(heads), _CLASS_NAMES: _class_names(bought)}
    save_file(tensors, path, metadata=metadata)


def _read_safetensors(path: Path) -> Iterator[Bought]:
    with safe_open(path, "numpy") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != _FORMAT:
            raise ValueError(f"format {metadata.get('format')!r} in place of {_FORMAT!r}")
        class_names = json.loads(metadata.get(_CLASS_NAMES, "{}"))
        for index, head in enumerate(json.loads(metadata["streams"])):
            keys = file.get_tensor(f"{index}.sample_keys")
            yield Bought(
                head["teacher_id"],
                head["kind"],
                tuple(int(size) for size in head["shape"]),
                tuple(key.tobytes() for key in keys),
                file.get_tensor(f"{index}.values").astype(np.float32, casting="same_kind"),
                file.get_tensor(f"{index}.purchase"),
                tuple({name: purchase[name] for name in PROVENANCE} for purchase in head["purchases"]),
                _names_of(head["teacher_id"], class_names),
            )


def _write_parquet(path: Path, bought: Sequence[Bought]) -> None:
    pa, parquet = _pyarrow()
    schema = pa.schema(
        [
            ("teacher_id", pa.string()),
            ("output_kind", pa.string()),
            ("shape", pa.list_(pa.int32())),
            ("sample_key", pa.binary(KEY_BYTES)),
            ("values", pa.list_(pa.float32())),
            ("idempotency_key", pa.string()),
            ("query_id", pa.string()),
            ("model_version", pa.string()),
            ("created_at", pa.float64()),
            ("finished_at", pa.float64()),
        ],
        metadata={"format": _FORMAT, _CLASS_NAMES: _class_names(bought)},
    )
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for found in bought:
            samples, width = found.values.shape
            whose = [found.purchases[index] for index in found.purchase.tolist()]
            columns = {
                "teacher_id": [found.teacher_id] * samples,
                "output_kind": [found.kind] * samples,
                "shape": [list(found.shape)] * samples,
                "sample_key": list(found.sample_keys),
                "values": pa.ListArray.from_arrays(
                    np.arange(0, (samples + 1) * width, width, dtype=np.int32), found.values.reshape(-1)
                ),
                **{name: [purchase[name] for purchase in whose] for name in PROVENANCE},
            }
            writer.write_table(pa.table(columns, schema))


def _read_parquet(path: Path) -> Iterator[Bought]:
    _, parquet = _pyarrow()
    table = parquet.read_table(path)
    metadata = table.schema.metadata or {}
    if metadata.get(b"format") != _FORMAT.encode():
        raise ValueError(f"no format {_FORMAT!r} among its metadata")
    class_names = json.loads(metadata.get(_CLASS_NAMES.encode(), b"{}"))
    column = table["values"].combine_chunks()
    flat, ends = column.values.to_numpy(), column.offsets.to_numpy()
    rows = table.drop_columns(["values"]).to_pylist()
    streams: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for index, row in enumerate(rows):
        streams.setdefault((row["teacher_id"], row["output_kind"], tuple(row["shape"])), []).append(index)
    for (teacher_id, kind, shape), indices in streams.items():
        starts, width = ends[indices], math.prod(shape)
        if (ends[np.asarray(indices) + 1] - starts != width).any():
            raise ValueError(f"outputs of other lengths than {width}")
        purchases: dict[tuple[Any, ...], int] = {}
        place = [
            purchases.setdefault(tuple(rows[index][name] for name in PROVENANCE), len(purchases)) for index in indices
        ]
        yield Bought(
            teacher_id,
            kind,
            shape,
            tuple(rows[index]["sample_key"] for index in indices),
            flat[starts[:, None] + np.arange(width)],
            np.asarray(place, np.int64),
            tuple(dict(zip(PROVENANCE, purchase, strict=True)) for purchase in purchases),
            _names_of(teacher_id, class_names),
        )


def _class_names(bought: Sequence[Bought]) -> str:
    """The class names of each teacher that stated some, by its id, as JSON."""
    return json.dumps({found.teacher_id: found.class_names for found in bought if found.class_names is not None})


def _names_of(teacher_id: str, class_names: dict[str, list[str]]) -> tuple[str, ...] | None:
    return tuple(class_names[teacher_id]) if teacher_id in class_names else None


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise CacheError("parquet needs pyarrow; install it with `pip install tuition[parquet]`") from error
    return pyarrow, parquet


@dataclass(frozen=True)
class Format:
    """How a kind of file is written and read.

    Writing may raise any of `UNWRITABLE`, and reading any of `UNREADABLE`; what it reads is not checked.
    """

    write: Callable[[Path, Sequence[Bought]], None]
    read: Callable[[Path], Iterable[Bought]]


FORMATS = {
    ".safetensors": Format(_write_safetensors, _read_safetensors),
    ".parquet": Format(_write_parquet, _read_parquet),
}
"""By the suffix of a file's name."""
