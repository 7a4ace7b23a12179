"""Numbers in words."""

from collections.abc import Mapping
from typing import Any, Final

NO_BREAK: Final = "\N{NO-BREAK SPACE}"


def percent(share: float) -> str:
    """A share: 93.4 %, on one line."""
    return f"{100 * share:.1f}{NO_BREAK}%"


def points(accuracy: float) -> str:
    """An accuracy in percent: 93.4 %, on one line."""
    return percent(accuracy / 100)


def accuracy_of_teacher(teacher: Mapping[str, Any]) -> str:
    """The test accuracy in the facts of a teacher, and that before it was made worse on purpose; empty without one."""
    if "accuracy" not in teacher:
        return ""
    before = teacher.get("accuracy_before_degradation")
    return percent(teacher["accuracy"]) + ("" if before is None else f" ({percent(before)} before it was degraded)")


def duration(seconds: float) -> str:
    """A time for people: exact to the second, from one hour on to the minute."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f}{NO_BREAK}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
