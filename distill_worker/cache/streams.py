"""Streams: a teacher's outputs of one kind, the shape of one output, and the names of the teacher's classes."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, insert, select

from distill_worker.cache.database import schema

_streams = schema.streams.c


def find_stream(connection: Connection, teacher_id: str, output_kind: str) -> int | None:
    """The id of a stream, or None if it is absent."""
    query = select(_streams.id).where(_streams.teacher_id == teacher_id, _streams.output_kind == output_kind)
    row = connection.execute(query).first()
    return None if row is None else int(row.id)


def make_stream(connection: Connection, teacher_id: str, output_kind: str) -> int:
    """The id of a stream; creates the stream if it is absent."""
    stream_id = find_stream(connection, teacher_id, output_kind)
    if stream_id is not None:
        return stream_id
    values = {"teacher_id": teacher_id, "output_kind": output_kind}
    return new_id(connection.execute(insert(schema.streams).values(values)))


def teacher_ids(connection: Connection) -> list[str]:
    """The ids of all teachers that have a stream, sorted."""
    return sorted(set(connection.scalars(select(schema.streams.c.teacher_id))))


def streams_by_teacher(connection: Connection, output_kind: str) -> dict[str, int]:
    """Stream ids by teacher id, of one kind of output."""
    rows = connection.execute(select(schema.streams).where(_streams.output_kind == output_kind))
    return {row.teacher_id: row.id for row in rows}


def streams_by_kind(connection: Connection, teacher_id: str) -> dict[str, int]:
    """Stream ids by kind of output, of one teacher, without those of purchases of several kinds at once."""
    rows = connection.execute(select(schema.streams).where(_streams.teacher_id == teacher_id))
    return {row.output_kind: row.id for row in rows if len(split_kinds(row.output_kind)) == 1}


def shape_of(connection: Connection, stream_id: int) -> tuple[int, ...] | None:
    """The shape of one output, or None if it is a plain vector."""
    query = select(schema.stream_shapes.c.shape).where(schema.stream_shapes.c.stream_id == stream_id)
    row = connection.execute(query).first()
    return None if row is None else tuple(int(size) for size in row.shape.split(","))


def save_shape(connection: Connection, stream_id: int, shape: tuple[int, ...]) -> None:
    """Save the shape of one output, unless it is a plain vector or saved already."""
    if len(shape) > 1 and shape_of(connection, stream_id) is None:
        sizes = ",".join(map(str, shape))
        connection.execute(insert(schema.stream_shapes).values(stream_id=stream_id, shape=sizes))


def class_names_of(connection: Connection, teacher_id: str) -> tuple[str, ...] | None:
    """The names of a teacher's classes, in the order of its outputs; None if it stated none."""
    query = select(schema.class_names.c.names).where(schema.class_names.c.teacher_id == teacher_id)
    row = connection.execute(query).first()
    return None if row is None else tuple(json.loads(row.names))


def save_class_names(connection: Connection, teacher_id: str, names: Sequence[str] | None) -> None:
    """Save the names of a teacher's classes, unless some are saved: its earlier outputs are in the order of those."""
    if names is not None and class_names_of(connection, teacher_id) is None:
        row = {"teacher_id": teacher_id, "names": json.dumps(names)}
        connection.execute(insert(schema.class_names).values(row))


def split_kinds(joined: str) -> tuple[str, ...]:
    """The kinds of output in the text that joins them."""
    return tuple(joined.split(schema.KIND_SEPARATOR))


def new_id(added: CursorResult[Any]) -> int:
    """The id of the one row that was inserted."""
    return int(added.inserted_primary_key.id)  # type: ignore[union-attr]  # one row was inserted
