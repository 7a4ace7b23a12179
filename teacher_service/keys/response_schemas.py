"""Keys and grants as operators get them, from the command line and over HTTP."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import BaseModel, create_model

from shared.times import utc
from teacher_service.keys.grants import Grant, Granted
from teacher_service.keys.store import KeyHistory
from teacher_service.policy.key_terms import TERMS
from teacher_service.policy.quota import Quota

_TERM_TYPES: Final[dict[str, Any]] = {"text": str, "outputs": str, "time": datetime | None, "limit": int | None}
_FIELDS: Final[dict[str, Any]] = {
    "id": str,
    "name": str,
    "holder": str,
    **dict.fromkeys(("limit", "used", "reserved", "remaining", "in_flight"), int),
    **{name: _TERM_TYPES[term.kind] for name, term in TERMS.items()},
    "revoked": bool,
}
"""The fields of a key in their order. `in_flight` counts its requests in flight; `outputs` is its output policy."""

if TYPE_CHECKING:
    _KeyFields = BaseModel
else:
    _KeyFields = create_model("_KeyFields", **{name: (kind, ...) for name, kind in _FIELDS.items()})


class KeyResponse(_KeyFields):
    """A key as it stands: its quota in samples, and all of its terms. A limit that is null does not apply."""

    @classmethod
    def of(cls, quota: Quota, revoked: bool) -> Self:
        """A key from its quota."""
        return cls(**_fields(quota, revoked))


class GrantResponse(BaseModel):
    """Samples that were added to a key's quota."""

    samples: int
    reason: str
    reference: str | None
    """The Idempotency-Key of the request for this grant."""
    created_at: datetime

    @classmethod
    def of(cls, grant: Grant) -> Self:
        """A grant from the ledger."""
        return cls(**vars(grant) | {"created_at": _time(grant.created_at)})


class GrantedResponse(GrantResponse):
    """A grant, and the key's quota with it and those before it."""

    key_id: str
    limit: int

    @classmethod
    def of_granted(cls, granted: Granted) -> Self:
        """The response to a grant: the same, however often the request is repeated."""
        grant = GrantResponse.of(granted.grant)
        return cls(**dict(grant), key_id=granted.quota.key_id, limit=granted.limit)


class KeyWithGrants(KeyResponse):
    """A key, and the grants that its limit is the sum of, oldest first."""

    grants: list[GrantResponse]

    @classmethod
    def of_history(cls, history: KeyHistory) -> Self:
        """A key from its history."""
        grants = [GrantResponse.of(grant) for grant in history.grants]
        return cls(**_fields(history.quota, history.revoked), grants=grants)


class NewKeyResponse(BaseModel):
    """A key with its secret, which is shown this once."""

    id: str
    key: str


def _fields(quota: Quota, revoked: bool) -> dict[str, Any]:
    terms = vars(quota.terms) | {"outputs": str(quota.terms.outputs)}
    times = {name: _time(terms[name]) for name, term in TERMS.items() if term.kind == "time"}
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
        **times,
    }


def _time(at: float | None) -> datetime | None:
    return None if at is None else utc(at)
