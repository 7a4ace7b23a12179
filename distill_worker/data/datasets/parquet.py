"""Parquet files with a column of images, as the hub of Hugging Face exports them, or with the bytes of image files."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from distill_worker.data.datasets.parts import shards
from distill_worker.errors import DataError

EXTENSION: Final = ".parquet"
_BYTES: Final = ("binary", "large_binary")


def tables_of_parquet(library: Any, path: Path, *, images: Sequence[str], where: str) -> Any:
    """The one table of Parquet files, or `train` and `test` by name; in memory, with the images encoded.

    Args:
        library: `datasets`, which brings pyarrow.
        path: a file, or a folder of files.
        images: what the column of images may be called.
        where: the start of messages.

    Raises:
        DataError: a file cannot be read, or the files of a part have other columns.
    """
    if not path.exists():
        raise DataError(f"{where}: expected a {EXTENSION} file, got none")
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    tables = []
    for files in shards(path, EXTENSION, where=where):
        try:
            table = library.Dataset(arrow.concat_tables([parquet.read_table(file) for file in files]))
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{where}: expected Parquet files with the same columns ({error})") from error
        tables.append(_with_images(library, table, images))
    return tables[0] if len(tables) == 1 else dict(zip(("train", "test"), tables, strict=True))


def _with_images(library: Any, table: Any, names: Sequence[str]) -> Any:
    """The table with its image column as images: other programs than `datasets` write their bytes alone."""
    for name in set(names).intersection(table.column_names):
        feature = table.features[name]
        if isinstance(feature, dict) or getattr(feature, "dtype", None) in _BYTES:
            table = table.cast_column(name, library.Image())
    return table
