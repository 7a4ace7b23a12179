"""Numbers in words."""

from typing import Final

NO_BREAK: Final = "\N{NO-BREAK SPACE}"


def percent(share: float) -> str:
    """A share: 93.4 %, on one line."""
    return f"{100 * share:.1f}{NO_BREAK}%"


def points(accuracy: float) -> str:
    """An accuracy in percent: 93.4 %, on one line."""
    return percent(accuracy / 100)


def duration(seconds: float) -> str:
    """A time for people: exact to the second, from one hour on to the minute."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f}{NO_BREAK}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
