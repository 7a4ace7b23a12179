"""Who is alive: a lock that the kernel drops at the moment of death."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.durable.process_lock import open_file_lock

_PEER = """
import sys
from pathlib import Path
from shared.durable.process_lock import open_file_lock
lock = open_file_lock(Path(sys.argv[1]))
print(lock.id, flush=True)
sys.stdin.read()
"""


@contextmanager
def _peer(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Another process on the same database, and its id."""
    command = [sys.executable, "-c", _PEER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_killed_process_is_dead_at_once_and_a_live_one_is_not(tmp_path: Path) -> None:
    """SIGKILL: no handler runs, no file is removed, and still no timeout is waited for."""
    with open_file_lock(tmp_path) as self_, _peer(tmp_path) as (killed, killed_id), _peer(tmp_path) as (_, live_id):
        assert self_.is_alive(killed_id)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert (tmp_path / f"{killed_id}.lock").exists()
        assert not self_.is_alive(killed_id)
        assert not (tmp_path / f"{killed_id}.lock").exists()
        assert not self_.is_alive(killed_id)
        assert self_.is_alive(live_id)
        assert (tmp_path / f"{live_id}.lock").exists(), "asking must not harm the living"


def test_process_is_alive_to_itself_and_its_peers_until_it_leaves(tmp_path: Path) -> None:
    with open_file_lock(tmp_path) as first:
        with open_file_lock(tmp_path) as second:
            assert first.id != second.id
            assert first.is_alive(first.id)
            assert first.is_alive(second.id)
            assert second.is_alive(first.id)
        assert not first.is_alive(second.id)
        assert first.is_alive(first.id)
    assert list(tmp_path.iterdir()) == []


def test_unknown_process_is_dead(tmp_path: Path) -> None:
    with open_file_lock(tmp_path / "made" / "here") as lock:
        assert not lock.is_alive("0123456789abcdef")
