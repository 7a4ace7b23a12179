"""Whether a ratio that was measured now is worse than the committed one."""

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.figures import Figure

TOLERANCE = 0.10


@dataclass(frozen=True)
class Verdict:
    """What the guard says of one ratio."""

    line: str
    is_worse: bool


def judge(measured: Figure, committed: Figure | None, tolerance: float = TOLERANCE) -> Verdict | None:
    """Compare a ratio with its committed figure, or with its target; None if it has neither.

    Args:
        measured: just now.
        committed: on the same hardware, if any.
        tolerance: how much worse than the committed run's worst round a ratio may be, as a share of it.
    """
    higher = measured["better"] == "higher"
    if committed is not None:
        worst = committed["min"] if higher else committed["max"]
        limit = worst * (1 - tolerance if higher else 1 + tolerance)
        reason = (
            f"committed {committed['value']:g} ({committed['min']:g}..{committed['max']:g}), {tolerance:.0%} tolerated"
        )
    elif measured["target"] is not None:
        limit, reason = measured["target"], "the target, as no figure is committed for this hardware"
    else:
        return None
    is_worse = measured["value"] < limit if higher else measured["value"] > limit
    verdict = "WORSE" if is_worse else "ok"
    bound = f"{'at least' if higher else 'at most'} {limit:.4g}"
    return Verdict(f"{verdict:6}{measured['name']:46}{measured['value']:>8g}, {bound} ({reason})", is_worse)


def committed_on(hardware: str, lines: Iterable[Figure]) -> dict[str, Figure]:
    """The latest figure of each name on this hardware."""
    return {figure["name"]: figure for figure in lines if figure["hardware"] == hardware}
