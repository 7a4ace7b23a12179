"""A reader finds the old file or the new one."""

import os
import stat
from pathlib import Path

import pytest

from shared.atomic_file import atomic_replacement, create_private_file, write_atomically


def test_content_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"old", b"newer"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_reader_of_the_old_file_keeps_it_whole(tmp_path: Path) -> None:
    """The new content goes to another file, which takes the name: an open old file is never written into."""
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"newer")
        assert reader.read() == b"old"


def test_failure_leaves_the_old_file(tmp_path: Path) -> None:
    """A folder stands where the partial file would go."""
    path = tmp_path / "file"
    write_atomically(path, b"old")
    (tmp_path / ".file.part").mkdir()
    with pytest.raises(OSError, match=r"\.file\.part"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_what_a_killed_writer_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".file.part").write_bytes(b"half of a longer cont")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_content_and_then_the_name_are_flushed_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the call cannot take the new file away; one before the rename leaves the old."""
    path, flushed, fsync = tmp_path / "file", list[tuple[str, bytes]](), os.fsync
    write_atomically(path, b"old")

    def record(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        flushed.append((kind, path.read_bytes()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write_atomically(path, b"new")
    assert flushed == [("file", b"old"), ("folder", b"new")]


def test_block_that_raises_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def interrupted() -> None:
        with atomic_replacement(path) as partial:
            partial.write_bytes(b"half of")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_private_file_is_its_owners_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_private_file(path, b"secret")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        create_private_file(path, b"another")
    assert path.read_bytes() == b"secret"
