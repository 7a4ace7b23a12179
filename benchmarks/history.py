"""How long a look into a long log takes: pages of the query log and the usage by day, of a million queries.

`python -m benchmarks.history` writes a ledger of 1,000,000 queries on SQLite and on PostgreSQL, starts a real service
on each, and asks it over HTTP, one request after the other; then it exports the whole log. A short look (fewer queries)
prints its figures and does not record them.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx

from benchmarks.figures import Figure, figure, misses_target, write
from benchmarks.long_ledger import Past, write_past
from benchmarks.service.processes import running
from benchmarks.service.teacher_file import write_teacher
from shared.times import utc
from tests.postgresql import PostgresServer

QUERIES: Final = 1_000_000
REQUESTS: Final = 200
TARGET_MILLISECONDS: Final = 50.0
_ADMIN_KEY: Final = "benchmark-admin-key"


def questions(past: Past) -> Mapping[str, str]:
    """What is asked, below `/v1` and below `/v1/admin`."""
    begun = utc(past.begun_at).date()
    day, next_day = begun + timedelta(days=20), begun + timedelta(days=21)
    return {
        "first_page": "queries",
        "deep_page": f"queries?cursor={past.queries // 2}",
        "rare_status": "queries?status=released",
        "old_day": f"queries?since={day}&until={next_day}",
        "old_day_rare_status": f"queries?since={day}&until={next_day}&status=released",
        "page_of_1000": "queries?limit=1000",
        "usage": "usage",
    }


def measure(place: Path | str, kind: str, folder: Path, queries: int) -> Iterator[Figure]:
    """The figures of one ledger."""
    started = time.perf_counter()
    past = write_past(place, queries)
    print(f"{kind}: {queries:,} queries written in {time.perf_counter() - started:.0f} s", flush=True)
    url = place if isinstance(place, str) else f"sqlite:///{place}"
    environment = {"TEACHER_DATABASE_URL": url, "TEACHER_ADMIN_KEY": _ADMIN_KEY}
    weights = write_teacher(folder / "teacher.safetensors", "resnet8", 3, (8, 8))
    command = [sys.executable, "-m", "teacher_service", "serve", "--weights", str(weights), "--port"]
    with running(command, folder / "service.log", environment) as server:
        for who, path, token in (("own", "/v1", past.keys[0].token), ("admin", "/v1/admin", _ADMIN_KEY)):
            address, headers = f"http://127.0.0.1:{server.port}{path}/", {"Authorization": f"Bearer {token}"}
            with httpx.Client(headers=headers, timeout=60, trust_env=False) as client:
                for name, question in questions(past).items():
                    target = None if name == "page_of_1000" else TARGET_MILLISECONDS
                    times = [_milliseconds(client, address + question) for _ in range(REQUESTS)]
                    yield figure("history", f"{kind}_{who}_{name}", times, unit="ms", better="lower", target=target)
    yield _export(kind, environment, folder, queries)


def main() -> None:
    """Read the arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=QUERIES)
    queries = max(1000, parser.parse_args().queries)
    with tempfile.TemporaryDirectory() as folder:
        _report(measure(Path(folder) / "ledger.sqlite", "sqlite", Path(folder), queries), queries)
    with tempfile.TemporaryDirectory() as folder, _database() as url:
        _report(measure(url, "postgresql", Path(folder), queries), queries)


def _report(figures: Iterator[Figure], queries: int) -> None:
    for found in figures:
        if queries >= QUERIES:
            write(found)
        verdict = "" if found["target"] is None else "MISSED" if misses_target(found) else "met"
        print(f"{found['name']:44}{found['value']:>9g} {found['unit']:7}max {found['max']:<9g}{verdict}", flush=True)


def _milliseconds(client: httpx.Client, address: str) -> float:
    started = time.perf_counter()
    client.get(address).raise_for_status()
    return 1000 * (time.perf_counter() - started)


def _export(kind: str, environment: Mapping[str, str], folder: Path, queries: int) -> Figure:
    file = folder / "log.jsonl"
    started = time.perf_counter()
    command = [sys.executable, "-m", "teacher_service", "log", "export", "--output", str(file)]
    subprocess.run(command, env={**environment}, check=True)
    seconds = time.perf_counter() - started
    with file.open("rb") as lines:
        found = sum(1 for _ in lines)
    if found != queries:
        raise RuntimeError(f"expected {queries} rows in the export, got {found}")
    return figure("history", f"{kind}_export", [queries / seconds], unit="rows/s", better="higher")


@contextmanager
def _database() -> Iterator[str]:
    server = PostgresServer()
    try:
        with server.database() as url:
            yield url
    finally:
        server.close()


if __name__ == "__main__":
    main()
