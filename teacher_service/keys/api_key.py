"""API keys: `tk_<id>_<secret>`. Random, shown once, stored hashed, compared in constant time.

The secret has 256 random bits, so one round of SHA-256 protects it: there is nothing to guess.
"""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256

_PREFIX = "tk"
_MAX_ID = 32
_MAX_NAME = 200


@dataclass(frozen=True)
class NewKey:
    """A key as it is shown, once; only `secret_sha256` is stored."""

    id: str
    token: str
    secret_sha256: str


def new_key(key_id: str | None = None) -> NewKey:
    """A fresh random key, or a fresh secret for the key of this id."""
    key_id = key_id or secrets.token_hex(6)
    secret = secrets.token_hex(32)
    return NewKey(key_id, f"{_PREFIX}_{key_id}_{secret}", _hash(secret))


def key_id_of(token: str) -> str:
    """The id inside a token, or `""` when the token is malformed."""
    parts = token.split("_")
    return parts[1] if len(parts) == 3 and parts[0] == _PREFIX and is_id(parts[1]) else ""


def is_id(text: str) -> bool:
    """Whether the text has the format of a key's id, which every database accepts in a lookup."""
    return text.isascii() and text.isalnum() and len(text) <= _MAX_ID


def is_text(text: str) -> bool:
    """Whether every database accepts the text in a lookup of a key by its name."""
    return 0 < len(text) <= _MAX_NAME and text.isprintable()


def matches(token: str, secret_sha256: str) -> bool:
    """Whether the token's secret hashes to `secret_sha256`; takes as long for a wrong secret as for a right one."""
    return hmac.compare_digest(_hash(token.rsplit("_", 1)[-1]), secret_sha256)


def _hash(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
