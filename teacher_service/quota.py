"""A key's allowance as it stands: the one way in which rows of `api_keys` become numbers that are shown."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from teacher_service.database import api_keys

MAX_QUOTA: Final = 10**15 - 1
"""The largest integer that a structured header field can say (RFC 9651)."""


@dataclass(frozen=True)
class Quota:
    """A key's allowance, in samples."""

    key_id: str
    name: str
    limit: int
    used: int
    reserved: int
    features: bool = False
    """Whether the key may see intermediate features."""

    @property
    def remaining(self) -> int:
        """What the next request may cost at most."""
        return self.limit - self.used - self.reserved


def read_quota(connection: Connection, key_id: str) -> Quota:
    """The quota of a key that exists, inside the caller's transaction."""
    return quota_of(connection.execute(select(api_keys).where(api_keys.c.id == key_id)).one())


def quota_of(row: Row[Any], *, features: bool = False) -> Quota:
    """A whole row of `api_keys` as a quota."""
    return Quota(row.id, row.name, row.quota, row.used, row.reserved, features)
