"""`teacher-service keys`: create, list, show, change, rotate and revoke API keys, and grant quota."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from teacher_service.cli.key_options import with_term_options
from teacher_service.cli.options import AsJson, DataDir, example, path
from teacher_service.policy.quota import MAX_QUOTA

keys_command = typer.Typer(
    no_args_is_help=True,
    help="Create, list, change and revoke API keys, and grant quota. Changes apply from the next request.",
    epilog=example("teacher-service keys create --name alice --quota 500"),
)

Key = Annotated[str, typer.Argument(help="The key's id or name, as `keys list` shows them.")]


@keys_command.command(
    "create", epilog=example("teacher-service keys create --name alice --quota 500 --key-file alice.key")
)
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
    from teacher_service.cli import keys

    keys.create_key(name, quota, terms, key_file=key_file, data_dir=data_dir, as_json=as_json)


@keys_command.command("list", epilog=example("teacher-service keys list"))
def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List every key with its quota and what remains of it; with --json, all its terms too."""
    from teacher_service.cli import keys

    keys.list_keys(data_dir=data_dir, as_json=as_json)


@keys_command.command("show", epilog=example("teacher-service keys show alice"))
def show_key(key: Key, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one key's quota and terms, and its grants, whose sum is the quota."""
    from teacher_service.cli import keys

    keys.show_key(key, data_dir=data_dir, as_json=as_json)


@keys_command.command("grant", epilog=example("teacher-service keys grant alice --samples 100 --reason refill"))
def grant_samples(
    key: Key,
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
    from teacher_service.cli import keys

    keys.grant_samples(key, samples, reason, reference, data_dir=data_dir, as_json=as_json)


@keys_command.command(
    "change", epilog=example("teacher-service keys change alice --outputs top_k:5,label --expires 90d")
)
@with_term_options
def change_key(
    key: Key,
    data_dir: DataDir = None,
    *,
    terms: Mapping[str, str | None],
    as_json: AsJson = False,
) -> None:
    """Change the given terms of a key, from its next request on. The other terms stay.

    To remove a limit: --expires never, --requests-per-minute none, --samples-per-minute none, --max-concurrent none.
    --features without --outputs means --outputs logits,features.
    """
    from teacher_service.cli import keys

    keys.change_key(key, terms, data_dir=data_dir, as_json=as_json)


@keys_command.command("rotate", epilog=example("teacher-service keys rotate alice"))
def rotate_key(key: Key, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Replace a key's secret and print the new one, once. The old one is rejected from the next request on.

    The key keeps its id, quota, history, and stored answers.
    """
    from teacher_service.cli import keys

    keys.rotate_key(key, data_dir=data_dir, as_json=as_json)


@keys_command.command("revoke", epilog=example("teacher-service keys revoke alice"))
def revoke_key(key: Key, data_dir: DataDir = None) -> None:
    """Reject a key from the next request on, for good. Its queries stay in the log."""
    from teacher_service.cli import keys

    keys.revoke_key(key, data_dir=data_dir)
