"""The query log as rows for other programs, one for each query, in the order of admission.

Memory use does not grow with the log. The rows are from one snapshot; the service may run meanwhile.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Engine, Float, Integer, select

from teacher_service.database.engine import snapshot
from teacher_service.database.schema import queries, query_events
from teacher_service.ledger.hash_chain import ADMITTED

_ROWS: Final = 2000
FACTS: Final = tuple(queries.c.keys())
COLUMNS: Final = (*FACTS, "admitted_sequence", "admitted_sha256", "finished_sequence", "finished_sha256")
"""The facts of a query, and its two entries in the chain."""
TYPES: Final[Mapping[str, Any]] = {
    column.name: column.type.python_type | None if column.nullable else column.type.python_type for column in queries.c
}
"""The Python type of each fact, as it is stored."""
TIMES: Final = frozenset(column.name for column in queries.c if isinstance(column.type, Float))
"""In seconds since the epoch."""
NUMBERS: Final = frozenset(
    {column.name for column in queries.c if isinstance(column.type, Integer)}
    | {"admitted_sequence", "finished_sequence"}
)


def export_rows(
    engine: Engine, *, key_id: str | None = None, since: float | None = None, until: float | None = None
) -> Iterator[dict[str, Any]]:
    """The `COLUMNS` of each query; of one key only, if given, and only those admitted from `since` and before `until`.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be read.
    """
    facts = [queries.c[name] for name in FACTS]
    statement = (
        select(*facts, query_events.c.sequence, query_events.c.event, query_events.c.sha256)
        .select_from(queries.outerjoin(query_events, query_events.c.query_id == queries.c.id))
        .order_by(queries.c.id, query_events.c.sequence)
    )
    if key_id is not None:
        statement = statement.where(queries.c.key_id == key_id)
    if since is not None:
        statement = statement.where(queries.c.created_at >= since)
    if until is not None:
        statement = statement.where(queries.c.created_at < until)
    with snapshot(engine) as connection:
        rows = connection.execute(statement, execution_options={"yield_per": _ROWS})
        for _, entries in groupby(rows, key=lambda row: row.id):
            yield _row(list(entries))


def _row(entries: Sequence[Any]) -> dict[str, Any]:
    row = {name: getattr(entries[0], name) for name in FACTS} | dict.fromkeys(COLUMNS[len(FACTS) :])
    for entry in entries:
        if entry.event is not None:
            when = "admitted" if entry.event == ADMITTED else "finished"
            row[f"{when}_sequence"], row[f"{when}_sha256"] = entry.sequence, entry.sha256.hex()
    return row
