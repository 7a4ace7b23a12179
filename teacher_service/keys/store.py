"""The API keys of a ledger: create, list, change, revoke and authenticate them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from teacher_service.database.schema import api_keys
from teacher_service.errors.service_errors import INVALID_KEY, InvalidRequest, NameTaken, Unauthorized, UnknownKey
from teacher_service.keys import api_key
from teacher_service.keys.grants import Grant, Granted, add, grants_of, insert_grant
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.ledger.key_rows import quota_of, read_quota
from teacher_service.ledger.reader import read_connection
from teacher_service.policy.key_terms import DEFAULT_TERMS, KeyTerms, changed_columns
from teacher_service.policy.quota import Quota

_MOST_CACHED: Final = 4096


@dataclass(frozen=True)
class KeyHistory:
    """A key as it stands, and the grants that its quota is the sum of, oldest first."""

    quota: Quota
    revoked: bool
    grants: Sequence[Grant]


class KeyStore:
    """The keys of one ledger."""

    def __init__(self, engine: Engine, commits: GroupCommit, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._commits = commits
        self._clock = clock
        self._cache: dict[bytes, Quota] = {}

    def authenticate(self, token: str) -> Quota:
        """The quota of the key that the token belongs to, as it stands now.

        Raises:
            Unauthorized: the token is malformed, unknown, revoked or expired.
            LedgerUnavailable: the database cannot be read.
        """
        digest = sha256(token.encode()).digest()
        row = self._key_row(api_key.key_id_of(token))
        stored = row.secret_sha256 if row is not None else "0" * 64
        now = self._clock()
        if not api_key.matches(token, stored) or row is None or _is_over(row, now):
            self._cache.pop(digest, None)
            raise Unauthorized(INVALID_KEY)
        quota = quota_of(row, now)
        if len(self._cache) >= _MOST_CACHED:
            self._cache.clear()
        self._cache[digest] = quota
        return quota

    def cached(self, token: str) -> Quota | None:
        """The key as it was when the token was last authenticated, without a read of the database.

        It may be stale, so a request that is admitted on its terms must pass its revision to the ledger.
        """
        return self._cache.get(sha256(token.encode()).digest())

    def create(
        self, name: str, quota: int, key: api_key.NewKey | None = None, terms: KeyTerms = DEFAULT_TERMS
    ) -> api_key.NewKey:
        """Create a key with `quota` samples on these terms: `key`, or a new random one.

        Raises:
            NameTaken: a key of this name exists.
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
                insert_grant(connection, key.id, Grant(quota, "created", self._clock()))

        self._commits.submit(operation).result()
        return key

    def grant(self, key_id: str, samples: int, reason: str, reference: str | None = None) -> Granted:
        """Add `samples` (at least 1) to a key's quota from its next request on, and only once under a reference.

        Raises:
            UnknownKey: there is no such key.
            QuotaTooLarge: the quota would be larger than a header field can say.
            IdempotencyMismatch: a different grant was made under this reference.
        """
        _check_format(key_id)

        def operation(connection: Connection) -> Granted:
            return add(connection, key_id, Grant(samples, reason, self._clock(), reference))

        return self._commits.submit(operation).result()

    def rotate(self, key_id: str) -> api_key.NewKey:
        """Replace the secret of a key, which keeps its id, quota and history. The old secret is rejected at once.

        Raises:
            UnknownKey: there is no such key, or it is revoked.
        """
        _check_format(key_id)
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

    def change(self, key_id: str, **changes: Any) -> Quota:
        """Set some `KeyTerms` of a key, by name, from its next request on; return its quota. The others stay.

        Raises:
            UnknownKey: there is no such key, or it is revoked.
            TypeError: a name is not that of a term.
        """
        _check_format(key_id)
        columns = changed_columns(changes)

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
        """A key's quota, and its grants.

        Raises:
            UnknownKey: there is no such key.
            LedgerUnavailable: the database cannot be read.
        """
        _check_format(key_id)
        with read_connection(self._engine, snapshot=True) as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).first()
            if row is None:
                raise UnknownKey(key_id)
            return KeyHistory(quota_of(row, self._clock()), row.revoked_at is not None, grants_of(connection, key_id))

    def id_of(self, id_or_name: str) -> str:
        """The id of the key with this id or name. No two keys have the same name, revoked ones included.

        Raises:
            UnknownKey: no key has it.
            InvalidRequest: it is the id of one key and the name of another.
            LedgerUnavailable: the database cannot be read.
        """
        if not api_key.is_text(id_or_name):
            raise UnknownKey(id_or_name)
        with read_connection(self._engine) as connection:
            named = or_(api_keys.c.id == id_or_name, api_keys.c.name == id_or_name)
            ids: list[str] = list(connection.scalars(select(api_keys.c.id).where(named)))
        if not ids:
            raise UnknownKey(id_or_name)
        if len(ids) > 1:
            raise InvalidRequest(
                f"key: expected the id or the name of one key, got {id_or_name!r}, which is the id of one and the name "
                f"of another; pass the id of the one that you mean: {' or '.join(sorted(ids))}"
            )
        return ids[0]

    def all(self) -> list[tuple[Quota, bool]]:
        """Every key's quota, oldest first, and whether it is revoked.

        Raises:
            LedgerUnavailable: the database cannot be read.
        """
        with read_connection(self._engine) as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)).all()
        return [(quota_of(row, self._clock()), row.revoked_at is not None) for row in rows]

    def revoke(self, key_id: str) -> bool:
        """Reject this key from the next request on; return whether it exists."""
        if not api_key.is_id(key_id):
            return False

        def operation(connection: Connection) -> bool:
            exists = connection.execute(select(api_keys.c.id).where(api_keys.c.id == key_id)).first() is not None
            connection.execute(
                update(api_keys)
                .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=self._clock())
            )
            return exists

        return self._commits.submit(operation).result()

    def _key_row(self, key_id: str) -> Row[Any] | None:
        with read_connection(self._engine) as connection:
            return connection.execute(select(api_keys).where(api_keys.c.id == key_id)).first()


def _check_format(key_id: str) -> None:
    if not api_key.is_id(key_id):
        raise UnknownKey(key_id)


def _is_over(row: Row[Any], now: float) -> bool:
    return row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now)
