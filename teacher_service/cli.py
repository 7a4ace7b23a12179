"""The `teacher-service` command: serve a model, and hand out keys.

Results go to standard output, logs and errors to standard error; exit status 2 means that the call was wrong.
"""

import json
import logging
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import structlog
import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy.exc import SQLAlchemyError

from teacher_service.database import open_database
from teacher_service.errors import ServiceError
from teacher_service.group_commit import GroupCommit
from teacher_service.key_file import KeyFileError, keep_key
from teacher_service.key_ring import KeyRing
from teacher_service.key_terms import KeyTerms
from teacher_service.migrations import LedgerTooNew
from teacher_service.quota import MAX_QUOTA, Quota
from teacher_service.settings import Settings

_GRACEFUL_SHUTDOWN_SECONDS = 30
_MAX_REASON = 200

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Serve a model's logits behind a call quota, with every query logged.",
)
keys = typer.Typer(
    no_args_is_help=True, help="API keys: made, shown, granted more, revoked. Takes effect on the next request."
)
app.add_typer(keys, name="keys")

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the SQLite ledger [env TEACHER_DATA_DIR; default teacher-data]."),
]
KeyId = Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.command()
def serve(
    weights: Annotated[
        Path | None,
        typer.Option(help="A self-describing weights file, as `distill-worker train` writes [env TEACHER_WEIGHTS]."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="[env TEACHER_HOST; default 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any free port [env TEACHER_PORT; default 8000]")] = None,
    data_dir: DataDir = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda [env TEACHER_DEVICE]")] = None,
    trust_code: Annotated[
        bool | None,
        typer.Option(
            "--trust-code", help="Run the code that the weights file names as its network [env TEACHER_TRUST_CODE]."
        ),
    ] = None,
) -> None:
    """Serve a model until SIGTERM; the address is printed once the service listens.

    Every option has an environment variable; TEACHER_MAX_BATCH_SIZE, TEACHER_BATCH_TIMEOUT_SECONDS,
    TEACHER_DATABASE_URL and TEACHER_MODEL_NAME have no option.
    """
    settings = _settings(weights=weights, host=host, port=port, data_dir=data_dir, device=device, trust_code=trust_code)
    if settings.weights is None:
        _fail("weights: expected --weights FILE or TEACHER_WEIGHTS, got neither")
    from shared.weights import WeightsError  # torch takes seconds to import; `keys` does without it
    from teacher_service.app import create_app
    from teacher_service.teacher import Teacher

    _log_to_stderr()
    try:
        teacher = Teacher(settings.weights, settings.device, trust_code=settings.trust_code)
    except (WeightsError, ValueError) as error:
        _fail(str(error))
    with _explained_errors(settings):
        open_database(settings.ledger).dispose()
    listener = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        create_app(settings, teacher),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACEFUL_SHUTDOWN_SECONDS,
    )
    structlog.get_logger(__name__).info(
        "serving", model=settings.model_name, version=teacher.fingerprint, device=str(teacher.device)
    )
    host_name, bound_port = listener.getsockname()[:2]
    print(f"http://{f'[{host_name}]' if ':' in host_name else host_name}:{bound_port}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


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
    terms = KeyTerms(outputs="logits,features") if features else KeyTerms()
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
    _print_table(rows, empty="no keys yet: teacher-service keys create --help")


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
    _print_table(given, empty="no grants")


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
        _fail(f"reason: expected 1 to {_MAX_REASON} characters, got {len(reason)}")
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
            _fail(f"key_id: there is no key {key_id!r}; see `teacher-service keys list`")
    print(f"revoked {key_id}")


def main() -> None:
    """Run the command."""
    app()


def _print_table(rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    """Values are broken over lines in a narrow terminal, never cut: an id is there to be copied."""
    table = Table(*(Column(name, overflow="fold") for name in (rows[0] if rows else [empty])))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


def _key_facts(quota: Quota, revoked: bool) -> dict[str, Any]:
    return {
        "id": quota.key_id,
        "name": quota.name,
        "limit": quota.limit,
        "used": quota.used,
        "reserved": quota.reserved,
        "remaining": quota.remaining,
        "features": quota.features,
        "revoked": revoked,
    }


@contextmanager
def _key_ring(data_dir: Path | None) -> Iterator[KeyRing]:
    _log_to_stderr()
    settings = _settings(data_dir=data_dir)
    with _explained_errors(settings):
        engine = open_database(settings.ledger)
        commits = GroupCommit(engine)
        try:
            yield KeyRing(engine, commits, time.time)
        finally:
            commits.close()
            engine.dispose()


@contextmanager
def _explained_errors(settings: Settings) -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        _fail(error.detail)
    except KeyFileError as error:
        _fail(str(error))
    except LedgerTooNew as error:
        _fail(f"{_shown(settings.ledger)}: {error}")
    except (SQLAlchemyError, OSError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        on_server = str(settings.ledger).startswith("postgresql:")
        remedy = "the server runs and TEACHER_DATABASE_URL is right" if on_server else "the folder can be written"
        _fail(f"{_shown(settings.ledger)}: the ledger cannot be opened ({reason}); check that {remedy}")


def _shown(url: object) -> str:
    """Without the password that it may hold."""
    return re.sub(r"//[^/]*@", "//***@", str(url))


def _settings(**given: Any) -> Settings:
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        _fail(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}, got {_shown(repr(first['input']))}")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # The protocol is named because asyncio turns Nagle's algorithm off only on sockets that name it; left on, it
        # holds every answer back for the client's delayed acknowledgement, some 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        _fail(f"{host}:{port}: cannot listen there ({error.strerror or error}); choose another --port or --host")
    return listener


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, format="event=%(message)r logger=%(name)s level=%(levelname)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(2)
