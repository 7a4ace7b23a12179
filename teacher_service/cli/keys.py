"""`teacher-service keys`: create, list, show, change, rotate and revoke API keys, and grant quota."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shared.times import iso
from teacher_service.cli.console import AsJson, DataDir, open_ledger, path, print_table
from teacher_service.cli.key_options import parse_options, with_term_options
from teacher_service.errors.service_errors import UnknownKey
from teacher_service.keys.key_file import keep_key
from teacher_service.keys.request_schemas import ChangeTermsRequest, CreateKeyRequest, GrantWithReferenceRequest
from teacher_service.keys.response_schemas import KeyResponse
from teacher_service.keys.store import KeyStore
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.policy.key_terms import KeyTerms
from teacher_service.policy.quota import MAX_QUOTA

_LISTED: Final = ("id", "name", "limit", "used", "reserved", "remaining", "outputs", "revoked")
"""Columns of the table; `show` and `--json` print all."""

keys_command = typer.Typer(
    no_args_is_help=True,
    help="Create, list, change and revoke API keys, and grant quota. Changes apply from the next request.",
)

KeyId = Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.")]


@keys_command.command("create")
@with_term_options
def create_key(
    name: Annotated[str, typer.Option(help="Unique name of the key.")],
    quota: Annotated[int, typer.Option(min=0, max=MAX_QUOTA, help="Lifetime quota, in samples.")],
    data_dir: DataDir = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            parser=path,
            metavar="PATH",
            help="Write the secret to this file (mode 600) only; if the file exists, create no key.",
        ),
    ] = None,
    *,
    terms: Mapping[str, str | None],
    as_json: AsJson = False,
) -> None:
    """Create a key and print its secret, once: only the hash is stored. `rotate` replaces a lost secret."""
    request = parse_options(CreateKeyRequest, {"name": name, "quota": quota, **terms})
    with _key_store(data_dir, creates=True) as keys:
        if key_file is None:
            key = keys.create(name, quota, terms=KeyTerms(**request.given_terms))
            _print({"id": key.id, "key": key.token}, as_json)
            return
        key_id = keep_key(keys, name, quota, key_file, KeyTerms(**request.given_terms))
    if key_id is None:
        print(f"{key_file} exists; no key was created", file=sys.stderr)
        return
    _print({"id": key_id, "key_file": str(key_file)}, as_json)


@keys_command.command("list")
def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List every key with its quota and what remains of it; with --json, all its terms too."""
    with _key_store(data_dir) as keys:
        rows = [_as_json(KeyResponse.of(quota, revoked)) for quota, revoked in keys.all()]
    if as_json:
        print(json.dumps({"keys": rows}))
        return
    print_table(
        [{name: row[name] for name in _LISTED} for row in rows], empty="no keys yet: teacher-service keys create --help"
    )


@keys_command.command("show")
def show_key(key_id: KeyId, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one key's quota and terms, and its grants, whose sum is the quota."""
    with _key_store(data_dir) as keys:
        history = keys.show(key_id)
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


@keys_command.command("grant")
def grant_samples(
    key_id: KeyId,
    samples: Annotated[int, typer.Option(min=1, max=MAX_QUOTA, help="Samples to add to the quota.")],
    reason: Annotated[str, typer.Option(help="Reason, stored in the key's history.")] = "granted",
    reference: Annotated[
        str | None,
        typer.Option(help="Your own reference for the grant. Repeated with the same one, it grants no more."),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Add samples to a key's quota, from its next request on. The key's history keeps every grant.

    Without --reference, a repetition grants again.
    """
    fields = {"samples": samples, "reason": reason, "reference": reference}
    request = parse_options(GrantWithReferenceRequest, fields)
    with _key_store(data_dir) as keys:
        granted = keys.grant(key_id, request.samples, request.reason, request.reference)
    _print({"id": key_id, "limit": granted.quota.limit, "remaining": granted.quota.remaining}, as_json)
    if granted.repeated:
        print(f"already granted on {iso(granted.grant.created_at)}; nothing was granted now", file=sys.stderr)


@keys_command.command("change")
@with_term_options
def change_key(
    key_id: KeyId,
    data_dir: DataDir = None,
    *,
    terms: Mapping[str, str | None],
    as_json: AsJson = False,
) -> None:
    """Change the given terms of a key, from its next request on. The other terms stay.

    To remove a limit: --expires never, --requests-per-minute none, --samples-per-minute none, --max-concurrent none.
    --features without --outputs means --outputs logits,features.
    """
    request = parse_options(ChangeTermsRequest, terms)
    with _key_store(data_dir) as keys:
        quota = keys.change(key_id, **request.given_terms)
    _print(_as_json(KeyResponse.of(quota, revoked=False)), as_json)


@keys_command.command("rotate")
def rotate_key(key_id: KeyId, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Replace a key's secret and print the new one, once. The old one is rejected from the next request on.

    The key keeps its id, quota, history, and stored answers.
    """
    with _key_store(data_dir) as keys:
        key = keys.rotate(key_id)
    _print({"id": key.id, "key": key.token}, as_json)


@keys_command.command("revoke")
def revoke_key(key_id: KeyId, data_dir: DataDir = None) -> None:
    """Reject a key from the next request on, for good. Its queries stay in the log."""
    with _key_store(data_dir) as keys:
        if not keys.revoke(key_id):
            raise UnknownKey(key_id)
    print(f"revoked {key_id}")


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
