"""Servers in processes of their own: started, stopped in mid-air while others are measured, and ended.

A server that waits is not free: some poll. `paused` keeps all but the measured one off the processors.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60
STOP_SECONDS = 20
ONE_THREAD: Mapping[str, str] = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""What torch, and whatever it calls, read at start."""


@dataclass(frozen=True)
class Server:
    """A running server; it leads a process group of its own."""

    port: int
    process: "subprocess.Popen[bytes]"

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let the server run, which `asleep` stopped."""
        os.killpg(self.process.pid, signal.SIGCONT)
        try:
            yield
        finally:
            self.sleep()

    def sleep(self) -> None:
        """Stop the server, with all of its processes, where they are."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resident_mebibytes(self) -> float:
        """The memory that the server's first process holds (VmRSS)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(kibibytes) / 1024


@contextmanager
def running(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run a server whose command ends in the port that it shall listen on.

    Raises:
        RuntimeError: it ended, or did not listen; the message holds the end of its log.
    """
    port = _free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TEACHER_")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, str(port)],
            env={**inherited, **ONE_THREAD, **(environment or {})},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _wait_until_it_listens(process, port, log)
            yield Server(port, process)
        finally:
            _end(process)


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    ending = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise RuntimeError(f"the server on port {port} does not listen:\n{ending}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Every process of the group: a server may leave workers behind."""
    for signals in ((signal.SIGCONT, signal.SIGTERM), (signal.SIGKILL,)):
        try:
            for number in signals:
                os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
