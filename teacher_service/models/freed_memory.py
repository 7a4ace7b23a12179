"""The memory of activations: glibc keeps what one pass of the model frees for the next.

By default glibc returns it to the kernel and fetches it again, page by page, in the next pass. What that costs is
measured in docs/results/serving.md.
"""

import ctypes
import os
from typing import Final

_PARAMETERS: Final = (
    (-1, "trim_threshold", "MALLOC_TRIM_THRESHOLD_", 256 << 20),
    (-3, "mmap_threshold", "MALLOC_MMAP_THRESHOLD_", 32 << 20),  # the largest that every version of glibc takes
)
"""Of glibc's `mallopt`: the number in malloc.h, the name of the tunable, the variable, the value in bytes."""


def keep_freed_memory() -> None:
    """Let this process keep freed memory for its next allocations: up to 256 MiB, and 64 MiB for each other thread.

    A parameter that the environment sets stays as it is. Without glibc, nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    for number, tunable, variable, value in _PARAMETERS:
        if variable not in os.environ and f"glibc.malloc.{tunable}=" not in tunables:
            mallopt(number, value)
