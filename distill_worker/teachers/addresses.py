"""What of a teacher's URL may be shown and kept."""

import re
from typing import Final

_PARTS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)?(?:[^/?#]*@)?([^?#]*)", re.DOTALL)


def public_url(url: str) -> str:
    """Without user, password, query and fragment, which may hold what pays; and without a slash at the end."""
    match = _PARTS.match(url)
    return f"{match[1] or ''}{match[2]}".rstrip("/") if match else ""
