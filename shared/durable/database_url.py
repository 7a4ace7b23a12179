"""The URL of a database, which may hold a password: what a message may show of it.

Invariant: nothing that is shown can be a part of the password, whatever characters it has and wherever they stand.
"""

import re
from typing import Final
from urllib.parse import unquote

HIDDEN: Final = "***"
ESCAPES: Final = "write % as %25, @ as %40, : as %3A, / as %2F, # as %23 and ? as %3F"
"""How to write the characters of a user name or password that have a meaning in a URL."""

_UNAMBIGUOUS: Final = re.compile(
    r"(?P<scheme>[a-z0-9+]+)://"
    r"(?P<user>(?:[^@/?#%\s]|%[0-9A-Fa-f]{2})*@)?"
    r"(?P<place>(?:[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/[A-Za-z0-9._-]*)"
    r"(?P<query>\?[^@]*)?"
)
_SCHEME: Final = re.compile(r"(?:postgresql|sqlite)(?:\+[a-z]+)?(?=://)")
_LIKE_A_URL: Final = re.compile(r":.*@", re.DOTALL)
"""A user and a password, whatever stands before and after them."""
_WITHOUT_PASSWORD: Final = re.compile(r"(?!postgres)[A-Za-z0-9+.-]+://[^@]*")
_LEAST: Final = 4
"""The shortest part of a secret that is hidden in other text: shorter ones are in every text by chance."""


def shown_url(url: str) -> str:
    """A database URL for messages, without user, password and query.

    Host, port and database are shown only where no reading of the URL makes them part of a password.
    """
    if url.startswith("sqlite:///"):
        return url
    if match := _UNAMBIGUOUS.fullmatch(url):
        return f"{match['scheme']}://{f'{HIDDEN}@' if match['user'] else ''}{match['place']}"
    scheme = _SCHEME.match(url)
    return f"{scheme[0]}://{HIDDEN}" if scheme else HIDDEN


def is_like_a_url(text: str) -> bool:
    """Whether a text, or the last parts of a path, may have been meant as a URL, perhaps with a password."""
    return "://" in text or _LIKE_A_URL.search(text) is not None


def without_password(text: str) -> str:
    """A text for messages: as it is, unless it may be a URL with a password, of any kind."""
    return text if _WITHOUT_PASSWORD.fullmatch(text) or not is_like_a_url(text) else shown_url(text)


def without_secrets(text: str, url: str) -> str:
    """A text, such as the message of a driver, in which every part of the URL that is not shown is hidden."""
    match = _UNAMBIGUOUS.fullmatch(url)
    secrets = f"{match['user']}\n{match['query']}" if match else url
    secrets = f"{secrets}\n{unquote(secrets)}"
    cleaned, start = [], 0
    while start < len(text):
        end = start + _LEAST
        if end > len(text) or text[start:end] not in secrets:
            cleaned.append(text[start])
            start += 1
            continue
        while end < len(text) and text[start : end + 1] in secrets:
            end += 1
        cleaned.append(HIDDEN)
        start = end
    return "".join(cleaned)
