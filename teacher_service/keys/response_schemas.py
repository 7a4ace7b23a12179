"""Keys as operators are told of them, by the command line and over HTTP."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel

from shared.times import utc
from teacher_service.keys.grants import Grant, Granted
from teacher_service.keys.store import KeyHistory
from teacher_service.policy.quota import Quota


class KeyFacts(BaseModel):
    """A key as it stands: its quota in samples, and all of its terms. A limit that is null does not apply."""

    id: str
    name: str
    holder: str
    limit: int
    used: int
    reserved: int
    remaining: int
    in_flight: int
    """Requests that are being answered now."""
    outputs: str
    """What the key may see."""
    expires_at: datetime | None
    requests_per_minute: int | None
    samples_per_minute: int | None
    max_concurrent: int | None
    revoked: bool

    @classmethod
    def of(cls, quota: Quota, revoked: bool) -> Self:
        """A key, as it is told."""
        return cls(**_facts(quota, revoked))


class GrantFacts(BaseModel):
    """Samples that were added to a key's quota."""

    samples: int
    reason: str
    reference: str | None
    """The Idempotency-Key under which it was asked for."""
    created_at: datetime

    @classmethod
    def of(cls, grant: Grant) -> Self:
        """A grant, as it is told."""
        return cls(**vars(grant) | {"created_at": _moment(grant.created_at)})


class GrantedFacts(GrantFacts):
    """A grant, and the key's quota with it and those before it."""

    key_id: str
    limit: int

    @classmethod
    def of_granted(cls, granted: Granted) -> Self:
        """The same, however often the grant is repeated."""
        grant = GrantFacts.of(granted.grant)
        return cls(**dict(grant), key_id=granted.quota.key_id, limit=granted.limit)


class KeyWithGrants(KeyFacts):
    """A key, and the grants that its limit is the sum of, oldest first."""

    grants: list[GrantFacts]

    @classmethod
    def of_history(cls, history: KeyHistory) -> Self:
        """A key with its history, as it is told."""
        given = [GrantFacts.of(grant) for grant in history.grants]
        return cls(**_facts(history.quota, history.revoked), grants=given)


class NewKeyFacts(BaseModel):
    """A key whose secret is told this once."""

    id: str
    key: str


def _facts(quota: Quota, revoked: bool) -> dict[str, object]:
    terms = vars(quota.terms) | {"outputs": str(quota.terms.outputs), "expires_at": _moment(quota.terms.expires_at)}
    return {
        "id": quota.key_id,
        "name": quota.name,
        "limit": quota.limit,
        "used": quota.used,
        "reserved": quota.reserved,
        "remaining": quota.remaining,
        "in_flight": quota.in_flight,
        "revoked": revoked,
        **terms,
    }


def _moment(at: float | None) -> datetime | None:
    return None if at is None else utc(at)
