"""The index of a store, in SQLite: each file as it was when it was read, and the row of its pixels.

Invariant: a row is in the index only after its pixels are on disk. So a process that is killed loses at most the
pictures that it decoded since its last commit, and what is behind the last row is written again.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from os import fsdecode, fsencode
from pathlib import Path
from typing import Final, NamedTuple, Self

from distill_worker.data.pictures.conversion import FirstLook, Head, Shape
from distill_worker.data.pictures.places import INDEX, lock

_SCHEMA: Final = """
begin immediate;
create table if not exists about (
    id integer primary key check (id = 1), generation integer not null, rows integer not null,
    mode text, height integer, width integer
);
insert or ignore into about values (1, 1, 0, null, null, null);
create table if not exists pictures (
    name blob primary key, size integer not null, changed integer not null,
    grey integer not null, height integer not null, width integer not null,
    row integer, key blob, sums blob, fault text
) without rowid;
create table if not exists digests (
    generation integer, first integer, rows integer, digest text not null, primary key (generation, first, rows)
);
create table if not exists parts (
    listing text, number integer, generation integer not null, rows blob not null, keys blob not null,
    first_keys blob not null, sums blob not null, primary key (listing, number)
);
create table if not exists firsts (
    name blob primary key, is_read integer not null, is_turned integer not null, key blob
) without rowid;
pragma user_version = 1;
commit;
"""
_DELETE_OLD_PARTS: Final = """
delete from parts where listing not in (select listing from parts group by listing order by max(rowid) desc limit 3)
"""
_SECONDS: Final = 60
"""How long a connection waits for another one's write."""
_VERSION: Final = 1
"""The `user_version` that the schema sets, so that opening an index writes nothing."""
_COLUMNS: Final = 10
"""Of the table of pictures, which are the first fields of an entry."""
_READ_ALIKE: Final = FirstLook(is_read=True, is_turned=False)
_LATER_TABLES: Final = ("firsts", "parts")
"""Which an index of an earlier version lacks."""


class State(NamedTuple):
    """A file as its folder lists it: if these are the same, so is the picture."""

    name: str
    """Its path."""
    size: int
    """Bytes."""
    changed: int
    """The time of its last change, in nanoseconds."""


class Entry(NamedTuple):
    """A file as it was when it was read; flat, because a store may have hundreds of thousands."""

    name: str
    size: int
    changed: int
    is_grey: int
    height: int
    width: int
    row: int | None = None
    """Of its pixels in the file of pixels; None until they are decoded, as the next two."""
    key: bytes | None = None
    """The sample key of its pixels."""
    sums: bytes | None = None
    """int64 `[2, channels]`: the sums of the values and of their squares, from which the statistics of any part
    follow."""
    fault: str | None = None
    """Why it cannot be read; then it has neither a head nor pixels."""
    first: FirstLook | None = None
    """How the first rules see it; None if they give the same."""
    first_key: bytes | None = None
    """The sample key of its pixels by the first rules, if these give others."""

    @property
    def state(self) -> State:
        """The file as it was listed."""
        return State(*self[:3])

    @property
    def head(self) -> Head:
        """What its head says of it."""
        return Head(bool(self.is_grey), (self.height, self.width))


class Snapshot(NamedTuple):
    """What an index holds."""

    generation: int
    """The number of the file of pixels."""
    rows: int
    """That are on disk in it, also of files that are gone. They never change: other processes map them."""
    shape: Shape | None
    """Of its rows; None before there are any."""
    entries: dict[str, Entry]
    """By name."""


class KnownPart(NamedTuple):
    """What is known of a part of a data set, joined over its pictures, in their order."""

    rows: bytes
    """int64 `[pictures]`."""
    keys: bytes
    """The sample keys."""
    first_keys: bytes
    """Of those pictures that the first rules read differently: the key, and that by the first rules."""
    sums: bytes
    """As of an entry, over all pictures."""


class KnownParts(NamedTuple):
    """The parts of a data set as they were opened last, so that their entries need not be read."""

    generation: int
    rows: int
    """All that are on disk, also of other files."""
    shape: Shape
    parts: list[KnownPart]


class Index:
    """An open index."""

    def __init__(self, store: Path) -> None:
        """Open that of a store, or create it. Raises `sqlite3.Error`, `OSError`."""
        self._connection = sqlite3.connect(store / INDEX, timeout=_SECONDS)
        self._connection.execute("pragma synchronous = full")
        if not self._is_made():
            with lock(store):  # a change to write-ahead logging waits for no other connection
                if not self._is_made():
                    self._connection.execute("pragma journal_mode = wal")
                    self._connection.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        """The index, which the block closes."""
        return self

    def _is_made(self) -> bool:
        [version] = self._connection.execute("pragma user_version").fetchone()
        there = "select count(*) from sqlite_master where type = 'table' and name in (?, ?)"
        [tables] = self._connection.execute(there, _LATER_TABLES).fetchone()
        return bool(version == _VERSION and tables == len(_LATER_TABLES))

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._connection.close()

    def snapshot(self) -> Snapshot:
        """What the index holds, as of one instant."""
        with self._connection:
            self._connection.execute("begin")
            about = self._connection.execute("select generation, rows, mode, height, width from about").fetchone()
            found = self._connection.execute(
                "select name, size, changed, grey, height, width, row, key, sums, fault from pictures"
            ).fetchall()
            firsts = self._connection.execute("select name, is_read, is_turned, key from firsts").fetchall()
        generation, rows, *shape = about
        entries = {name: Entry(name, *others) for raw, *others in found for name in (fsdecode(raw),)}
        for raw, is_read, is_turned, key in firsts:
            entry = entries[fsdecode(raw)]
            entries[entry.name] = entry._replace(first=FirstLook(bool(is_read), bool(is_turned)), first_key=key)
        return Snapshot(generation, rows, None if shape[0] is None else Shape(*shape), entries)

    def known_parts(self, listing: str) -> KnownParts | None:
        """The parts that were kept with `keep_parts`, if their rows are still the same."""
        with self._connection:
            self._connection.execute("begin")
            about = self._connection.execute("select generation, rows, mode, height, width from about").fetchone()
            found = self._connection.execute(
                "select rows, keys, first_keys, sums from parts where listing = ? and generation = ? order by number",
                (listing, about[0]),
            ).fetchall()
        generation, rows, *shape = about
        return KnownParts(generation, rows, Shape(*shape), [KnownPart(*part) for part in found]) if found else None

    def keep_parts(self, listing: str, parts: KnownParts) -> None:
        """Keep these parts by the digest of the list of their files."""
        with self._connection:
            self._connection.execute("delete from parts where generation <> ?", (parts.generation,))
            self._connection.execute(_DELETE_OLD_PARTS)
            self._connection.executemany(
                "insert or replace into parts values (?, ?, ?, ?, ?, ?, ?)",
                ((listing, number, parts.generation, *part) for number, part in enumerate(parts.parts)),
            )

    def add(self, entries: Sequence[Entry]) -> None:
        """Add entries, or replace those of the same names."""
        rows = [entry.row + 1 for entry in entries if entry.row is not None]
        with self._connection:
            self._connection.executemany(
                "insert or replace into pictures values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_values, entries)
            )
            self._connection.executemany("delete from firsts where name = ?", map(_name, entries))
            self._connection.executemany(
                "insert into firsts values (?, ?, ?, ?)",
                (
                    (*_name(entry), *(entry.first or _READ_ALIKE), entry.first_key)
                    for entry in entries
                    if entry.first is not None or entry.first_key is not None
                ),
            )
            self._connection.execute("update about set rows = max(rows, ?)", (max(rows, default=0),))

    def remove(self, names: Iterable[str]) -> None:
        """Remove the entries of files that are no longer there."""
        with self._connection:
            of_files = [(fsencode(name),) for name in names]
            self._connection.executemany("delete from pictures where name = ?", of_files)
            self._connection.executemany("delete from firsts where name = ?", of_files)
            self._connection.execute("delete from parts")

    def reshape(self, shape: Shape, generation: int) -> None:
        """Begin an empty file of pixels of this shape; all pictures are to be decoded again."""
        with self._connection:
            self._connection.execute("update pictures set row = null, key = null, sums = null")
            self._connection.execute("update firsts set key = null")
            self._connection.execute("delete from digests")
            self._connection.execute(
                "update about set generation = ?, rows = 0, mode = ?, height = ?, width = ?",
                (generation, shape.mode, shape.height, shape.width),
            )

    def rearrange(self, names: Sequence[str], generation: int) -> None:
        """Take another file of pixels, whose rows are those of these names, in their order."""
        with self._connection:
            self._connection.executemany(
                "update pictures set row = ? where name = ?", ((row, fsencode(name)) for row, name in enumerate(names))
            )
            self._connection.execute("update about set generation = ?, rows = ?", (generation, len(names)))
            self._connection.execute("delete from digests")

    def digest(self, generation: int, first: int, rows: int) -> str | None:
        """The digest of these rows, if it is known."""
        found = self._connection.execute(
            "select digest from digests where generation = ? and first = ? and rows = ?", (generation, first, rows)
        ).fetchone()
        return None if found is None else str(found[0])

    def keep_digest(self, generation: int, first: int, rows: int, digest: str) -> None:
        """Keep the digest of these rows."""
        with self._connection:
            self._connection.execute(
                "insert or replace into digests values (?, ?, ?, ?)", (generation, first, rows, digest)
            )


def _values(entry: Entry) -> tuple[object, ...]:
    return (fsencode(entry.name), *entry[1:_COLUMNS])


def _name(entry: Entry) -> tuple[bytes]:
    return (fsencode(entry.name),)
