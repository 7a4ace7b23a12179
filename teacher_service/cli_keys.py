"""`teacher-service keys`: API keys, made, shown, granted more, revoked."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from teacher_service.console import AsJson, DataDir, fail, open_ledger, print_table
from teacher_service.group_commit import GroupCommit
from teacher_service.key_file import keep_key
from teacher_service.key_ring import KeyRing
from teacher_service.key_terms import KeyTerms
from teacher_service.output_policy import OutputPolicy
from teacher_service.quota import MAX_QUOTA, Quota

_MAX_REASON = 200

keys = typer.Typer(
    no_args_is_help=True, help="API keys: made, shown, granted more, revoked. Takes effect on the next request."
)

KeyId = Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.")]


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="Whose key it is; unique.")],
    quota: Annotated[int, typer.Option(min=0, max=MAX_QUOTA, help="Lifetime quota, in samples.")],
    data_dir: DataDir = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="Write the key to this file (mode 600) instead; do nothing when the file exists."),
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="Let the key see intermediate features, not the logits alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a key and show it, once: only its hash is stored."""
    terms = KeyTerms(outputs=OutputPolicy.parse("logits,features")) if features else KeyTerms()
    with _key_ring(data_dir) as ring:
        if key_file is None:
            key = ring.create(name, quota, terms=terms)
            print(json.dumps({"id": key.id, "key": key.token}) if as_json else f"id: {key.id}\nkey: {key.token}")
            return
        key_id = keep_key(ring, name, quota, key_file, terms)
    if key_id is None:
        print(f"{key_file} exists; no key was created", file=sys.stderr)
        return
    print(json.dumps({"id": key_id, "key_file": str(key_file)}) if as_json else f"id: {key_id}\nkey_file: {key_file}")


@keys.command("list")
def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show every key's quota and what is left of it."""
    with _key_ring(data_dir) as ring:
        rows = [_key_facts(quota, revoked) for quota, revoked in ring.all()]
    if as_json:
        print(json.dumps({"keys": rows}))
        return
    print_table(rows, empty="no keys yet: teacher-service keys create --help")


@keys.command("show")
def show_key(key_id: KeyId, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one key's quota, and the grants that it is the sum of."""
    with _key_ring(data_dir) as ring:
        history = ring.show(key_id)
    facts = _key_facts(history.quota, history.revoked)
    given = [
        {
            "at": datetime.fromtimestamp(grant.created_at, UTC).isoformat(timespec="seconds"),
            "samples": grant.samples,
            "reason": grant.reason,
        }
        for grant in history.grants
    ]
    if as_json:
        print(json.dumps({**facts, "grants": given}))
        return
    for name, value in facts.items():
        print(f"{name}: {value}")
    print_table(given, empty="no grants")


@keys.command("grant")
def grant_samples(
    key_id: KeyId,
    samples: Annotated[int, typer.Option(min=1, max=MAX_QUOTA, help="How many more samples the key may ask.")],
    reason: Annotated[str, typer.Option(help="What for; kept in the key's history.")] = "granted",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Add to a key's quota, from its next request on. The history keeps every grant."""
    if not 1 <= len(reason) <= _MAX_REASON:
        fail(f"reason: expected 1 to {_MAX_REASON} characters, got {len(reason)}")
    with _key_ring(data_dir) as ring:
        quota = ring.grant(key_id, samples, reason)
    facts = {"id": key_id, "limit": quota.limit, "remaining": quota.remaining}
    print(json.dumps(facts) if as_json else "\n".join(f"{name}: {value}" for name, value in facts.items()))


@keys.command("rotate")
def rotate_key(key_id: KeyId, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Give a key another secret and show it, once; the old one is refused from the next request on.

    The key's id, quota and history stay, and so do the answers that it may repeat.
    """
    with _key_ring(data_dir) as ring:
        key = ring.rotate(key_id)
    print(json.dumps({"id": key.id, "key": key.token}) if as_json else f"id: {key.id}\nkey: {key.token}")


@keys.command("revoke")
def revoke_key(key_id: KeyId, data_dir: DataDir = None) -> None:
    """Refuse a key from the next request on. What it bought stays in the log."""
    with _key_ring(data_dir) as ring:
        if not ring.revoke(key_id):
            fail(f"key_id: there is no key {key_id!r}; see `teacher-service keys list`")
    print(f"revoked {key_id}")


def _key_facts(quota: Quota, revoked: bool) -> dict[str, Any]:
    return {
        "id": quota.key_id,
        "name": quota.name,
        "limit": quota.limit,
        "used": quota.used,
        "reserved": quota.reserved,
        "remaining": quota.remaining,
        "outputs": str(quota.terms.outputs),
        "revoked": revoked,
    }


@contextmanager
def _key_ring(data_dir: Path | None) -> Iterator[KeyRing]:
    with open_ledger(data_dir) as engine:
        commits = GroupCommit(engine)
        try:
            yield KeyRing(engine, commits, time.time)
        finally:
            commits.close()
