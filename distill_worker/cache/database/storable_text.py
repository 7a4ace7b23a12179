"""Names from teachers as texts that every database can store, so that no paid answer is lost because of its name.

PostgreSQL stores no NUL and no text longer than its column; no database stores half of a surrogate pair.
"""

import re
from hashlib import sha256

LONGEST = 200
"""The most characters in a teacher's id, and in its id of a request."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str, longest: int = LONGEST) -> bool:
    """Whether a database can store the text unchanged."""
    return len(text) <= longest and _UNSTORABLE.search(text) is None


def storable(text: str, longest: int = LONGEST) -> str:
    """The text without what a database cannot store."""
    return _UNSTORABLE.sub("", text)[:longest]


def storable_name(text: str) -> str:
    """The storable text of a name, unique for each name: a changed one ends with the hash of the original."""
    if is_storable(text):
        return text
    mark = f"~{sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"
    return storable(text)[: LONGEST - len(mark)] + mark
