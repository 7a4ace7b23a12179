"""The facts of a query, listed once: its columns, its hash, its export and its JSON are all derived from this list.

To add a fact, give `Query` a field with the next version after `LATEST`, write the migration that adds the column, and
set the value where the query is made (`teacher_service/api/routes/infer.py`).

Invariant: a field keeps its version for ever, because the hashes of stored entries depend on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_type_hints

from sqlalchemy import Column, ForeignKey, Integer, String


@dataclass(frozen=True)
class Fact:
    """The column of a fact, and the first version of the log whose hashes cover it."""

    type: Any
    """A SQLAlchemy type, or a ForeignKey."""
    since: int
    nullable: bool = False


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query that is to be admitted. The log keeps each field as a column of this name, which never changes."""

    request_id: Annotated[str, Fact(String(64), since=1)]
    key_id: Annotated[str, Fact(ForeignKey("api_keys.id"), since=1)]
    model_name: Annotated[str, Fact(String(64), since=1)]
    model_version: Annotated[str, Fact(String(64), since=1)]
    samples: Annotated[int, Fact(Integer, since=1)]
    outputs: Annotated[str, Fact(String(500), since=1, nullable=True)] = "logits"
    """The names of the requested outputs, with commas between. NULL in the oldest rows."""
    payload_sha256: Annotated[str, Fact(String(64), since=1)]
    idempotency_key: Annotated[str | None, Fact(String(255), since=1, nullable=True)] = None


_FACTS: Final[Mapping[str, Fact]] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(Query, include_extras=True).items()
}
_FIRST: Final = (
    "request_id",
    "key_id",
    "model_name",
    "model_version",
    "samples",
    "payload_sha256",
    "idempotency_key",
    "outputs",
    "instance_id",
)
"""What version 1 hashes, in this order: the fields of then, and the process that admitted the query."""


def columns() -> list[Column[Any]]:
    """A column for each fact. Rows older than a fact have no value for it, so its column is nullable."""
    return [Column(name, fact.type, nullable=fact.nullable or fact.since > 1) for name, fact in _FACTS.items()]


def hashed_facts(facts: Mapping[str, Fact] = _FACTS) -> dict[int, Sequence[str]]:
    """The facts that an entry of each version covers, in the order in which they are hashed."""
    versions: dict[int, Sequence[str]] = {1: _FIRST}
    for version in range(2, max(fact.since for fact in facts.values()) + 1):
        added = [name for name, fact in facts.items() if fact.since == version]
        versions[version] = (*versions[version - 1], *added)
    return versions


VERSIONS: Final[Mapping[int, Sequence[str]]] = hashed_facts()
"""The facts that an admission's hash covers, by the version of the entry."""
LATEST: Final = max(VERSIONS)
"""The version of the entries that are written now."""
