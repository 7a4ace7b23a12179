"""A new key straight into a file, for whoever starts the service unattended.

Invariant: killed at any instruction, the next call ends with the one key in the file. The key is on disk, beside its
place, before the ledger knows it; the file takes its place after.
"""

from pathlib import Path

from shared.atomic_file import create_private_file, move_into_place, partial_path
from teacher_service.errors.service_errors import NameTaken, Unauthorized
from teacher_service.keys.api_key import NewKey, key_id_of, new_key
from teacher_service.keys.store import KeyRing
from teacher_service.policy.key_terms import PLAIN, KeyTerms


class KeyFileError(Exception):
    """The file cannot be written; no key was created."""


def keep_key(ring: KeyRing, name: str, quota: int, path: Path, terms: KeyTerms = PLAIN) -> str | None:
    """Make a key and write it to `path`, mode 600; its id, or None when the file is there already.

    Raises:
        KeyFileError: the file cannot be written.
        NameTaken: there is a key of this name, and it is not one that a killed call left on the way to `path`.
    """
    if path.exists():
        return None
    partial = partial_path(path)
    if key_id := _half_made(ring, partial):
        move_into_place(partial, path)
        return key_id
    key = new_key()
    _write(partial, key, path)
    try:
        ring.create(name, quota, key, terms)
    except NameTaken:
        partial.unlink()
        raise
    move_into_place(partial, path)
    return key.id


def _half_made(ring: KeyRing, partial: Path) -> str | None:
    """The id of the key that a killed call left in `partial`, if the ledger knows it."""
    try:
        token = partial.read_text(encoding="ascii").strip()
        ring.authenticate(token)
    except (OSError, UnicodeDecodeError, Unauthorized):
        return None
    return key_id_of(token)


def _write(partial: Path, key: NewKey, path: Path) -> None:
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        create_private_file(partial, f"{key.token}\n".encode("ascii"))
    except OSError as error:
        raise KeyFileError(
            f"--key-file: cannot write {path} ({error.strerror or error}); no key was created"
        ) from error
