"""A signed lock says who holds it, for as long as the holder lives."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.durable.signed_lock import LockHeld, holder_of, own_signature, signed_lock

_HOLD = """
import sys
from pathlib import Path
from shared.durable.signed_lock import signed_lock
with signed_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_names_its_holder_until_that_dies(tmp_path: Path) -> None:
    """SIGKILL frees it; the signature that stays says nothing."""
    path = tmp_path / "lock"
    assert holder_of(path) is None
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        signature = holder_of(path)
        assert signature is not None
        assert signature.startswith(f"{process.pid}@")
        with pytest.raises(LockHeld) as held, signed_lock(path):
            pass
        assert held.value.holder == signature
        os.kill(process.pid, signal.SIGKILL)
    assert holder_of(path) is None
    with signed_lock(path, waits=True):
        assert path.read_text() == own_signature()


def test_shared_lock_is_held_beside_others_and_erases_no_signature(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with signed_lock(path):
        pass
    with signed_lock(path, shared=True), signed_lock(path, shared=True):
        assert holder_of(path) is None
        with pytest.raises(LockHeld), signed_lock(path):
            pass
    assert path.read_text() == own_signature()
