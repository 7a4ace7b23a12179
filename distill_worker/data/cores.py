"""How many cores this process may use."""

import os
from pathlib import Path
from typing import Final

_CONTROL_GROUP: Final = Path("/sys/fs/cgroup")


def cores(control_group: Path = _CONTROL_GROUP) -> int:
    """The CPU cores that this process may use, at least 1: by its affinity, and by the limit of its container."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _limit(control_group)
    return usable if limit is None else max(1, min(usable, int(limit)))


def _limit(control_group: Path) -> float | None:
    """The cores of a control group, version 2 or 1; None without a limit."""
    try:
        if (file := control_group / "cpu.max").exists():
            quota, period = file.read_text(encoding="ascii").split()
        else:
            quota, period = (
                (control_group / "cpu" / name).read_text(encoding="ascii")
                for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
