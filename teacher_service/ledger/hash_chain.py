"""The query log as a chain: each entry's hash covers the entry and the hash before it.

If an entry, or a fact of its query, is altered, removed or inserted, every hash from there on is wrong. With one hash
noted elsewhere, its owner can later prove that nothing before it was changed since.

An entry has a version: which facts its hash covers. The version is hashed in, and stored nowhere: an entry has the one
version with which its hash agrees, so a row cannot be edited to pass for an older version, which covers less.

Source: Haber and Stornetta, "How to time-stamp a digital document", Journal of Cryptology 3 (1991), section 5.1.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from teacher_service.database.query_facts import LATEST, VERSIONS

GENESIS: Final = bytes(32)
"""The hash before the first entry."""

ADMITTED: Final = "admitted"
_ENDED: Final = ("answer_sha256",)
"""The facts that the end of a query adds."""


def link(
    previous: bytes,
    sequence: int,
    event: str,
    at: float,
    query_id: int,
    facts: Mapping[str, Any],
    *,
    version: int = LATEST,
    versions: Mapping[int, Sequence[str]] = VERSIONS,
) -> bytes:
    """The SHA-256 of an entry, 32 bytes.

    Args:
        previous: the hash of the entry before, or `GENESIS`.
        sequence: the entry's number, from 1.
        event: `admitted`, `settled` or `released`.
        at: seconds since the epoch.
        query_id: the query that the entry is about.
        facts: the query's columns; the hash covers those that became known with the event.
        version: the version of the entry.
        versions: the facts that an admission covers, by version.
    """
    covered = versions[version] if event == ADMITTED else _ENDED
    tag = [] if version == 1 else [f"version {version}"]  # the first release had none; its entries begin with a number
    entry = [*tag, sequence, event, float(at), query_id, *(facts.get(fact) for fact in covered)]
    return sha256(previous + json.dumps(entry, separators=(",", ":")).encode()).digest()
