"""The streams of a cache: one for each teacher and kind of output, with the shape of one sample's output."""

from sqlalchemy import Connection, insert, select

from distill_worker.cache.claims import new_id
from distill_worker.cache.database import schema
from distill_worker.cache.records import split_kinds

_streams = schema.streams.c


def find_stream(connection: Connection, teacher_id: str, output_kind: str) -> int | None:
    """The id of a stream, if there is one."""
    here = select(_streams.id).where(_streams.teacher_id == teacher_id, _streams.output_kind == output_kind)
    found = connection.execute(here).first()
    return None if found is None else int(found.id)


def make_stream(connection: Connection, teacher_id: str, output_kind: str) -> int:
    """The id of a stream, which is there afterwards."""
    found = find_stream(connection, teacher_id, output_kind)
    if found is not None:
        return found
    values = {"teacher_id": teacher_id, "output_kind": output_kind}
    return new_id(connection.execute(insert(schema.streams).values(values)))


def teacher_ids(connection: Connection) -> list[str]:
    """The ids of all teachers that outputs were ever asked of, sorted."""
    return sorted(set(connection.scalars(select(schema.streams.c.teacher_id))))


def streams_by_teacher(connection: Connection, output_kind: str) -> dict[str, int]:
    """Stream ids by teacher id, of one kind of output."""
    rows = connection.execute(select(schema.streams).where(_streams.output_kind == output_kind))
    return {row.teacher_id: row.id for row in rows}


def streams_by_kind(connection: Connection, teacher_id: str) -> dict[str, int]:
    """Stream ids by kind of output, of one teacher; those of orders for several kinds at once are left out."""
    rows = connection.execute(select(schema.streams).where(_streams.teacher_id == teacher_id))
    return {row.output_kind: row.id for row in rows if len(split_kinds(row.output_kind)) == 1}


def shape_of(connection: Connection, stream_id: int) -> tuple[int, ...] | None:
    """The shape of one sample's output, where it is more than a plain vector."""
    known = schema.stream_shapes.c.stream_id == stream_id
    found = connection.execute(select(schema.stream_shapes.c.shape).where(known)).first()
    return None if found is None else tuple(int(size) for size in found.shape.split(","))


def learn_shape(connection: Connection, stream_id: int, shape: tuple[int, ...]) -> None:
    """Keep the shape of one sample's output, where it is more than a plain vector and not known yet."""
    if len(shape) > 1 and shape_of(connection, stream_id) is None:
        told = ",".join(map(str, shape))
        connection.execute(insert(schema.stream_shapes).values(stream_id=stream_id, shape=told))
