"""Labels as texts: what may stand around one in a prompt or an answer without changing it."""

from typing import Final

_AROUND: Final = " \t\r\n\"'`*_.:;,()[]“”‘’。"  # noqa: RUF001 - quotation marks and a full stop of other scripts


def plain(text: str) -> str:
    """A text without the signs and blanks around it, and with single blanks in it."""
    return " ".join(text.strip(_AROUND).split())
