"""The API keys: made, listed, revoked, and recognised."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Unpack

from sqlalchemy import Connection, Engine, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from teacher_service.database.schema import api_keys
from teacher_service.errors.service_errors import INVALID_KEY, NameTaken, Unauthorized, UnknownKey
from teacher_service.keys import api_key
from teacher_service.keys.grants import Grant, Granted, add, grants_of, note_grant
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.ledger.key_rows import quota_of, read_quota
from teacher_service.ledger.reader import looking
from teacher_service.policy.key_terms import PLAIN, KeyTerms, NamedTerms
from teacher_service.policy.quota import Quota

_MOST_REMEMBERED: Final = 4096


@dataclass(frozen=True)
class KeyHistory:
    """A key as it stands, and the grants that its quota is the sum of, oldest first."""

    quota: Quota
    revoked: bool
    grants: Sequence[Grant]


class KeyRing:
    """The keys of one ledger."""

    def __init__(self, engine: Engine, commits: GroupCommit, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._commits = commits
        self._clock = clock
        self._remembered: dict[bytes, Quota] = {}

    def authenticate(self, token: str) -> Quota:
        """The quota of the key that the token belongs to, as it stands now.

        Raises:
            Unauthorized: the token is malformed, unknown, revoked or expired.
            LedgerUnavailable: the database cannot be read.
        """
        remembered_as = sha256(token.encode()).digest()
        row = self._key_row(api_key.key_id_of(token))
        stored = row.secret_sha256 if row is not None else "0" * 64
        now = self._clock()
        if not api_key.matches(token, stored) or row is None or _is_over(row, now):
            self._remembered.pop(remembered_as, None)
            raise Unauthorized(INVALID_KEY)
        quota = quota_of(row, now)
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[remembered_as] = quota
        return quota

    def remembered(self, token: str) -> Quota | None:
        """The key as it was when the token was last recognised, without a look at the database.

        What is let pass on its terms must name its revision to the ledger, which knows better.
        """
        return self._remembered.get(sha256(token.encode()).digest())

    def create(
        self, name: str, quota: int, key: api_key.NewKey | None = None, terms: KeyTerms = PLAIN
    ) -> api_key.NewKey:
        """A new key worth `quota` samples on these terms: the one given, or a fresh one.

        Raises:
            NameTaken: there is a key of this name.
        """
        key = key or api_key.new_key()

        def operation(connection: Connection) -> None:
            try:
                connection.execute(
                    insert(api_keys).values(
                        id=key.id,
                        name=name,
                        secret_sha256=key.secret_sha256,
                        quota=quota,
                        created_at=self._clock(),
                        **terms.columns,
                    )
                )
            except IntegrityError as error:
                raise NameTaken(f"name: a key called {name!r} exists; choose another name") from error
            if quota:
                note_grant(connection, key.id, Grant(quota, "created", self._clock()))

        self._commits.submit(operation).result()
        return key

    def grant(self, key_id: str, samples: int, reason: str, reference: str | None = None) -> Granted:
        """Add `samples` (at least 1) to a key's quota, from the next request on; once under a reference.

        Raises:
            UnknownKey: there is no such key.
            QuotaTooLarge: the quota would be larger than a header field can say.
            IdempotencyMismatch: something else was granted under this reference.
        """
        _check_form(key_id)

        def operation(connection: Connection) -> Granted:
            return add(connection, key_id, Grant(samples, reason, self._clock(), reference))

        return self._commits.submit(operation).result()

    def rotate(self, key_id: str) -> api_key.NewKey:
        """Another secret for a key, which keeps its id, quota and history; the old one is refused at once.

        Raises:
            UnknownKey: there is no such key, or it is revoked.
        """
        _check_form(key_id)
        key = api_key.new_key(key_id)

        def operation(connection: Connection) -> None:
            changed = connection.execute(
                update(api_keys)
                .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
                .values(secret_sha256=key.secret_sha256, revision=api_keys.c.revision + 1)
            )
            if changed.rowcount != 1:
                raise UnknownKey(key_id)

        self._commits.submit(operation).result()
        return key

    def change(self, key_id: str, **named: Unpack[NamedTerms]) -> Quota:
        """Give a key other terms, from the next request on; its quota. Terms that are not named stay as they are.

        Raises:
            UnknownKey: there is no such key, or it is revoked.
        """
        _check_form(key_id)
        columns = {name: str(term) if name == "outputs" else term for name, term in named.items()}

        def operation(connection: Connection) -> Quota:
            changed = connection.execute(
                update(api_keys)
                .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
                .values(**columns, revision=api_keys.c.revision + 1)
            )
            if changed.rowcount != 1:
                raise UnknownKey(key_id)
            return read_quota(connection, key_id, self._clock())

        return self._commits.submit(operation).result()

    def show(self, key_id: str) -> KeyHistory:
        """A key's quota, and how it came by it.

        Raises:
            UnknownKey: there is no such key.
            LedgerUnavailable: the database cannot be read.
        """
        _check_form(key_id)
        with looking(self._engine, standing_still=True) as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).first()
            if row is None:
                raise UnknownKey(key_id)
            return KeyHistory(quota_of(row, self._clock()), row.revoked_at is not None, grants_of(connection, key_id))

    def all(self) -> list[tuple[Quota, bool]]:
        """Every key's quota, oldest first, and whether it is revoked.

        Raises:
            LedgerUnavailable: the database cannot be read.
        """
        with looking(self._engine) as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)).all()
        return [(quota_of(row, self._clock()), row.revoked_at is not None) for row in rows]

    def revoke(self, key_id: str) -> bool:
        """Refuse this key from the next request on; whether there was such a key."""
        if not api_key.is_id(key_id):
            return False

        def operation(connection: Connection) -> bool:
            known = connection.execute(select(api_keys.c.id).where(api_keys.c.id == key_id)).first() is not None
            connection.execute(
                update(api_keys)
                .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=self._clock())
            )
            return known

        return self._commits.submit(operation).result()

    def _key_row(self, key_id: str) -> Row[Any] | None:
        with looking(self._engine) as connection:
            return connection.execute(select(api_keys).where(api_keys.c.id == key_id)).first()


def _check_form(key_id: str) -> None:
    if not api_key.is_id(key_id):
        raise UnknownKey(key_id)


def _is_over(row: Row[Any], now: float) -> bool:
    return row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now)
