"""What the commands of `teacher-service keys` do: create, list, show, change, rotate and revoke keys; grant quota."""

import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from shared.times import iso
from teacher_service.cli.console import fail, open_ledger, print_table
from teacher_service.errors.service_errors import InvalidRequest
from teacher_service.keys.key_file import keep_key
from teacher_service.keys.request_schemas import (
    ChangeTermsRequest,
    CreateKeyRequest,
    GrantWithReferenceRequest,
    RequestSchema,
    parse_request,
)
from teacher_service.keys.response_schemas import KeyResponse
from teacher_service.keys.store import KeyStore
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.policy.key_terms import TERMS, KeyTerms

_LISTED: Final = ("id", "name", "limit", "used", "reserved", "remaining", "outputs", "revoked")
"""Columns of the table; `show` and `--json` print all."""
_WHOLE: Final = tuple(name for name in _LISTED if name not in ("name", "outputs"))

_WORDS_FOR_NONE: Final = {"time": "never", "limit": "none"}

AnyRequest = TypeVar("AnyRequest", bound=RequestSchema)


def create_key(
    name: str,
    quota: int,
    terms: Mapping[str, str | None],
    *,
    key_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Create a key, and print its secret or write it to a file."""
    request = _request(CreateKeyRequest, {"name": name, "quota": quota, **terms})
    with _key_store(data_dir, creates=True) as keys:
        if key_file is None:
            key = keys.create(name, quota, terms=KeyTerms(**request.given_terms))
            _print({"id": key.id, "key": key.token}, as_json)
            if not as_json:
                _print_next("export TEACHER_API_KEY=... (the key above)", data_dir)
            return
        key_id = keep_key(keys, name, quota, key_file, KeyTerms(**request.given_terms))
    if key_id is None:
        print(f"{key_file} exists; no key was created", file=sys.stderr)
        return
    _print({"id": key_id, "key_file": str(key_file)}, as_json)
    if not as_json:
        _print_next(f"export TEACHER_API_KEY=$(cat {shlex.quote(str(key_file))})", data_dir)


def list_keys(*, data_dir: Path | None, as_json: bool) -> None:
    """List every key with its quota and what remains of it."""
    with _key_store(data_dir) as keys:
        rows = [_as_json(KeyResponse.of(quota, revoked)) for quota, revoked in keys.all()]
    if as_json:
        print(json.dumps({"keys": rows}))
        return
    print_table(
        [{name: row[name] for name in _LISTED} for row in rows],
        empty="no keys yet: teacher-service keys create --help",
        whole=_WHOLE,
    )


def show_key(key: str, *, data_dir: Path | None, as_json: bool) -> None:
    """Show one key's quota and terms, and its grants."""
    with _key_store(data_dir) as keys:
        history = keys.show(keys.id_of(key))
    facts = _as_json(KeyResponse.of(history.quota, history.revoked))
    grants = [
        {
            "at": iso(grant.created_at),
            "samples": grant.samples,
            "reason": grant.reason,
            "reference": grant.reference,
        }
        for grant in history.grants
    ]
    if as_json:
        print(json.dumps({**facts, "grants": grants}))
        return
    _print(facts, as_json=False)
    print_table(grants, empty="no grants")


def grant_samples(
    key: str, samples: int, reason: str, reference: str | None, *, data_dir: Path | None, as_json: bool
) -> None:
    """Add samples to a key's quota."""
    fields = {"samples": samples, "reason": reason, "reference": reference}
    request = _request(GrantWithReferenceRequest, fields)
    with _key_store(data_dir) as keys:
        key_id = keys.id_of(key)
        granted = keys.grant(key_id, request.samples, request.reason, request.reference)
    _print({"id": key_id, "limit": granted.quota.limit, "remaining": granted.quota.remaining}, as_json)
    if granted.repeated:
        print(f"already granted on {iso(granted.grant.created_at)}; nothing was granted now", file=sys.stderr)


def change_key(key: str, terms: Mapping[str, str | None], *, data_dir: Path | None, as_json: bool) -> None:
    """Change the given terms of a key."""
    request = _request(ChangeTermsRequest, terms)
    with _key_store(data_dir) as keys:
        quota = keys.change(keys.id_of(key), **request.given_terms)
    _print(_as_json(KeyResponse.of(quota, revoked=False)), as_json)


def rotate_key(key: str, *, data_dir: Path | None, as_json: bool) -> None:
    """Replace a key's secret and print the new one."""
    with _key_store(data_dir) as keys:
        new = keys.rotate(keys.id_of(key))
    _print({"id": new.id, "key": new.token}, as_json)


def revoke_key(key: str, *, data_dir: Path | None) -> None:
    """Reject a key from the next request on."""
    with _key_store(data_dir) as keys:
        key_id = keys.id_of(key)
        keys.revoke(key_id)
    print(f"revoked {key_id}")


def _print_next(export: str, data_dir: Path | None) -> None:
    """What the operator does next, and how the client uses the key; on standard error, as it is no result."""
    option = "" if data_dir is None else f" --data-dir {shlex.quote(str(data_dir))}"
    print(
        "next: serve a model with this ledger, if no service does:\n"
        f"  teacher-service serve --weights teacher.safetensors{option}\n"
        "the client uses the key:\n"
        f"  {export}\n"
        '  curl --noproxy 127.0.0.1 -H "Authorization: Bearer $TEACHER_API_KEY" http://127.0.0.1:8000/v1/quota\n'
        "  TEACHER_URL=http://127.0.0.1:8000 distill-worker plan run.toml",
        file=sys.stderr,
    )


def _request(schema: type[AnyRequest], fields: Mapping[str, Any]) -> AnyRequest:
    """Validate the options that are not None; an invalid one ends the command as wrong usage."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return parse_request(schema, {name: _parsed(name, value) for name, value in given.items()}, time.time())
    except InvalidRequest as error:
        fail(error.detail.removeprefix("body: "))


def _parsed(name: str, text: Any) -> Any:
    """The value of an option's text. Text that is not a number stays; the schema rejects it as a limit."""
    kind = TERMS[name].kind if name in TERMS else ""
    if text == _WORDS_FOR_NONE.get(kind):
        return None
    if kind == "limit" and text.isascii() and text.lstrip("-").isdecimal() and len(text) < 20:
        return int(text)
    return text


def _as_json(facts: KeyResponse) -> dict[str, Any]:
    fields = facts.model_dump()
    times = {name: iso(value.timestamp()) for name, value in fields.items() if isinstance(value, datetime)}
    return fields | times


def _print(facts: Mapping[str, Any], as_json: bool) -> None:
    print(json.dumps(facts) if as_json else "\n".join(f"{name}: {value}" for name, value in facts.items()))


@contextmanager
def _key_store(data_dir: Path | None, *, creates: bool = False) -> Iterator[KeyStore]:
    with open_ledger(data_dir, creates=creates) as engine:
        commits = GroupCommit(engine)
        try:
            yield KeyStore(engine, commits, time.time)
        finally:
            commits.close()
