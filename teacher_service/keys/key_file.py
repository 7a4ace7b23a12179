"""A new key written to a file, for a service that starts unattended.

Invariant: after a kill at any instruction, the next call leaves exactly one key, in the file. The key is on disk in a
temporary file before it is in the ledger; the file is renamed after.
"""

from pathlib import Path

from shared.atomic_file import create_private_file, move_into_place, partial_path
from teacher_service.errors.service_errors import NameTaken, Unauthorized
from teacher_service.keys.api_key import NewKey, key_id_of, new_key
from teacher_service.keys.store import KeyStore
from teacher_service.policy.key_terms import DEFAULT_TERMS, KeyTerms


class KeyFileError(Exception):
    """The file cannot be written; no key was created."""


def keep_key(keys: KeyStore, name: str, quota: int, path: Path, terms: KeyTerms = DEFAULT_TERMS) -> str | None:
    """Create a key and write it to `path`, mode 600; return its id, or None if the file exists already.

    Raises:
        KeyFileError: the file cannot be written.
        NameTaken: a key of this name exists, and it is not one that a killed call left in the temporary file of `path`.
    """
    if path.exists():
        return None
    partial = partial_path(path)
    if key_id := _interrupted(keys, partial):
        move_into_place(partial, path)
        return key_id
    key = new_key()
    _write(partial, key, path)
    try:
        keys.create(name, quota, key, terms)
    except NameTaken:
        partial.unlink()
        raise
    move_into_place(partial, path)
    return key.id


def _interrupted(keys: KeyStore, partial: Path) -> str | None:
    """The id of the key that a killed call left in `partial`, if the ledger has it."""
    try:
        token = partial.read_text(encoding="ascii").strip()
        keys.authenticate(token)
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
