"""A SQLite ledger that cannot be written while the service runs: nothing is admitted, and it recovers by itself."""

import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.end_to_end.asking import ask, outcome, wait_until
from tests.end_to_end.broken_ledgers import assert_nothing_is_admitted, assert_recovered
from tests.end_to_end.conftest import StartService
from tests.end_to_end.processes import RunningService
from tests.teacher_service.ledger_file import writer_locked_out

Breakage = Callable[[RunningService], AbstractContextManager[object]]


def _file(service: RunningService) -> Path:
    return Path(service.ledger)


def _wal(service: RunningService) -> Path:
    return Path(f"{service.ledger}-wal")


@contextmanager
def _no_file_grows_beyond(service: RunningService, size: int) -> Iterator[None]:
    soft, hard = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _full(service: RunningService) -> Iterator[None]:
    """As on a full disk: what is there can be written over, and nothing added."""
    with _peer_reads(_file(service)), _no_file_grows_beyond(service, _wal(service).stat().st_size):
        yield


@contextmanager
def _peer_reads(file: Path) -> Iterator[None]:
    """So that the log of changes beside the file can be neither emptied, which would make room, nor begun again."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT COUNT(*) FROM api_keys")
        yield


def _nothing_can_be_written(service: RunningService) -> AbstractContextManager[object]:
    """Not a byte, to any file that is open, by root either; the log of the service is no exception."""
    return _no_file_grows_beyond(service, 0)


@contextmanager
def _immutable(service: RunningService) -> Iterator[None]:
    """Open files included, for root as well, where the file system knows of it."""
    files = [str(_file(service)), str(_wal(service))]
    if shutil.which("chattr") is None or subprocess.run(["chattr", "+i", *files], check=False).returncode:  # noqa: S607
        pytest.skip("files cannot be made immutable here")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)  # noqa: S607


def _locked(service: RunningService) -> AbstractContextManager[object]:
    """Another process writes, and does not end."""
    return writer_locked_out(_file(service))


@contextmanager
def _folder_moved(service: RunningService) -> Iterator[None]:
    """As when a volume is unmounted. What is written to the file in its new place would be lost to the old one."""
    folder = _file(service).parent
    moved = folder.with_name("moved")
    folder.rename(moved)
    try:
        yield
        assert not folder.exists(), "no ledger was made where there is none"
    finally:
        moved.rename(folder)


@contextmanager
def _file_gone(service: RunningService) -> Iterator[None]:
    """As when it is about to be restored: a copy comes back in its place."""
    file, copy = _file(service), _file(service).with_name("copy")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    for part in (file, _wal(service), Path(f"{file}-shm")):
        part.unlink()
    try:
        yield
        assert not file.exists(), "no ledger was made where there is none"
    finally:
        copy.rename(file)


BREAKAGES: Final[dict[str, Breakage]] = {
    "full": _full,
    "unwritable": _nothing_can_be_written,
    "immutable": _immutable,
    "locked": _locked,
    "folder moved": _folder_moved,
    "file gone": _file_gone,
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the ledger is, in a folder of its own."""
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume" / "ledger.sqlite"


@pytest.mark.parametrize("kind", BREAKAGES)
def test_nothing_is_admitted_while_the_ledger_is_broken_and_all_is_well_afterwards(
    start_service: StartService, place: Path, kind: str
) -> None:
    service = start_service(database=place)
    key = service.new_key("patient", 10)
    assert outcome(ask(service, key.token, 2, "before")) == "answered"
    with BREAKAGES[kind](service):
        assert_nothing_is_admitted(service, key)
    assert_recovered(service, key)


@pytest.mark.parametrize("kind", BREAKAGES)
def test_ledger_that_breaks_while_the_model_runs_charges_nothing_that_is_not_answered(
    start_service: StartService, place: Path, tmp_path: Path, kind: str
) -> None:
    """The hold is given back once it can be, and the same Idempotency-Key is answered then."""
    gate = tmp_path / "gate"
    service = start_service(database=place, GATE=str(gate))
    key = service.new_key("patient", 2)
    gate.touch()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, service, key.token, 2, "once")
        wait_until(lambda: bool(service.quota(key.token)["reserved"] == 2))
        with BREAKAGES[kind](service):
            gate.unlink()
            refused = asked.result()
            assert (refused.status_code, outcome(refused)) == (503, "ledger-unavailable")
    wait_until(lambda: service.is_ready() and not service.quota(key.token)["reserved"])
    assert service.quota(key.token)["used"] == 0
    assert outcome(ask(service, key.token, 2, "once")) == "answered"
    assert service.quota(key.token)["used"] == 2


def test_nothing_is_admitted_on_a_disk_that_is_really_full(start_service: StartService, tmp_path: Path) -> None:
    """A small file system of its own, filled up by somebody else."""
    volume = tmp_path / "small"
    volume.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(volume)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    service = start_service(database=volume / "ledger.sqlite")
    try:
        key = service.new_key("patient", 10)
        assert outcome(ask(service, key.token, 2, "before")) == "answered"
        with _peer_reads(_file(service)):
            with (volume / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
                while True:
                    ballast.write(bytes(512))
            assert_nothing_is_admitted(service, key)
            (volume / "ballast").unlink()
        assert_recovered(service, key)
    finally:
        service.kill()
        subprocess.run(["umount", str(volume)], check=True)  # noqa: S607
