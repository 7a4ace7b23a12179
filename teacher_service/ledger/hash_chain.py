"""The query log as a chain: each entry's hash covers the entry and the hash before it.

So an entry, or a fact of the query that it speaks of, that was altered, removed or slipped in breaks every hash from
there on. Whoever noted a hash down elsewhere can tell that nothing before it was changed since, by anybody.

Source: Haber and Stornetta, "How to time-stamp a digital document", Journal of Cryptology 3 (1991), section 5.1.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

GENESIS: Final = bytes(32)
"""What stands before the first entry."""

ADMITTED: Final = "admitted"
_FACTS: Final = (
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
"""What is known of a query when it is admitted, and never changes."""


def link(previous: bytes, sequence: int, event: str, at: float, query_id: int, facts: Mapping[str, Any]) -> bytes:
    """The SHA-256 of an entry, 32 bytes.

    Args:
        previous: that of the entry before, or `GENESIS`.
        sequence: the entry's number, from 1.
        event: `admitted`, `settled` or `released`.
        at: seconds since the epoch.
        query_id: the query that it happened to.
        facts: the query's columns, of which an entry covers those that its event made known.
    """
    known = _FACTS if event == ADMITTED else ("answer_sha256",)
    entry = [sequence, event, float(at), query_id, *(facts.get(fact) for fact in known)]
    return sha256(previous + json.dumps(entry, separators=(",", ":")).encode()).digest()
