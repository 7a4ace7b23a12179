"""Several cases in one sentence."""

from collections.abc import Sequence
from typing import Final

_MOST: Final = 3


def listed(cases: Sequence[str]) -> str:
    """The first three cases, and how many more there are."""
    more = [f"and {len(cases) - _MOST} more"] if len(cases) > _MOST else []
    return "; ".join([*cases[:_MOST], *more])
