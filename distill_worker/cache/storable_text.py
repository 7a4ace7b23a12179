"""Texts that teachers say, so that any database can keep them: an answer that was paid for is never lost over its name.

PostgreSQL holds no NUL and no text longer than its column; no database holds half of a surrogate pair.
"""

import re
from hashlib import sha256

LONGEST = 200
"""Characters of a teacher's id, and of what it calls a request."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str, longest: int = LONGEST) -> bool:
    """Whether it can be kept as it is."""
    return len(text) <= longest and _UNSTORABLE.search(text) is None


def storable(text: str) -> str:
    """What can be kept of it."""
    return _UNSTORABLE.sub("", text)[:LONGEST]


def storable_name(text: str) -> str:
    """What can be kept of it; two names are never kept as one: what was changed ends with a hash of what it was."""
    if is_storable(text):
        return text
    mark = f"~{sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"
    return storable(text)[: LONGEST - len(mark)] + mark
