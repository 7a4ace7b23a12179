"""Freed memory is kept by glibc, unless the environment says otherwise."""

import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from teacher_service.models import freed_memory

_PAGE_FAULTS = """
import ctypes, resource, runpy, sys
runpy.run_path(sys.argv[1])["keep_freed_memory"]()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [libc.malloc(20 << 20) for _ in range(3)]
    for block in blocks:
        ctypes.memset(block, 1, 20 << 20)
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="no glibc")


def _page_faults(**environment: str) -> int:
    inherited = {name: value for name, value in os.environ.items() if "MALLOC" not in name and "TUNABLES" not in name}
    command = [sys.executable, "-c", _PAGE_FAULTS, freed_memory.__file__]
    return int(subprocess.run(command, env={**inherited, **environment}, check=True, capture_output=True).stdout)


@needs_glibc
@pytest.mark.parametrize(
    "own",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"},
    ],
)
def test_freed_memory_is_kept_unless_the_environment_says_otherwise(own: dict[str, str]) -> None:
    """60 MiB are allocated, written and freed, again and again: the kernel gives their pages once, or each time."""
    assert _page_faults() < _page_faults(**own) / 2


def test_nothing_changes_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    freed_memory.keep_freed_memory()
