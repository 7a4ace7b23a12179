"""The arrows of the house: who may import whom. Read from the source, so that nothing need be imported."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("shared", "teacher_service", "distill_worker")

FORBIDDEN = [
    ("shared", {"teacher_service", "distill_worker"}),
    ("teacher_service", {"distill_worker"}),
    ("distill_worker", {"teacher_service"}),
]

ONLY_IN = {
    "fastapi": ["teacher_service/app.py", "teacher_service/api/routes/", "teacher_service/api/server.py"],
    "prometheus_client": ["teacher_service/api/prometheus.py", "teacher_service/api/routes/metrics.py"],
    "uvicorn": ["teacher_service/api/bounded_connection.py", "teacher_service/api/server.py"],
    "httpx": ["distill_worker/teachers/"],
    "tenacity": ["distill_worker/teachers/"],
    "sqlalchemy": [
        "teacher_service/query_log/verify.py",
        "teacher_service/query_log/verify_chain.py",
        "teacher_service/query_log/verify_tables.py",
        "teacher_service/cli/console.py",
        "teacher_service/database/engine.py",
        "teacher_service/keys/grants.py",
        "teacher_service/ledger/group_commit.py",
        "teacher_service/query_log/history.py",
        "teacher_service/keys/store.py",
        "teacher_service/ledger/process_lock.py",
        "teacher_service/ledger/ledger.py",
        "teacher_service/ledger/reader.py",
        "teacher_service/database/migrations/",
        "teacher_service/ledger/write_batch.py",
        "teacher_service/ledger/compiled_sql.py",
        "teacher_service/query_log/export.py",
        "teacher_service/policy/quota.py",
        "teacher_service/database/sqlite_file_guard.py",
        "distill_worker/cache/",
    ],
    "onnxruntime": ["teacher_service/models/onnx.py"],
    "pyarrow": ["distill_worker/cache/exchange/formats.py", "teacher_service/query_log/export_formats.py"],
    "torchvision": ["shared/networks/foreign.py", "distill_worker/data/datasets/"],
    "scipy": ["distill_worker/experiments/paired_tests.py", "teacher_service/inference/derived_outputs.py"],
    "rich": [
        "teacher_service/cli/console.py",
        "distill_worker/cli/console.py",
        "distill_worker/cli/tables_buying.py",
        "distill_worker/cli/tables_demo.py",
        "distill_worker/cli/tables.py",
    ],
}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _files(place: str) -> list[Path]:
    files = sorted((ROOT / place).rglob("*.py")) if (ROOT / place).is_dir() else [ROOT / place]
    assert files, f"{place} has no files: the rule guards nothing"
    return files


@pytest.mark.parametrize(("package", "strangers"), FORBIDDEN)
def test_packages_import_only_what_they_may(package: str, strangers: set[str]) -> None:
    for path in _files(package):
        assert not {name.split(".")[0] for name in _imports(path)} & strangers, path


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_is_imported_in_its_rooms_alone(library: str) -> None:
    for place in ONLY_IN[library]:
        assert any(library in {name.split(".")[0] for name in _imports(path)} for path in _files(place)), (
            f"{place} does not use {library}: the rule is out of date"
        )
    for package in PACKAGES:
        for path in _files(package):
            place = path.relative_to(ROOT).as_posix()
            if not any(place.startswith(allowed) for allowed in ONLY_IN[library]):
                assert library not in {name.split(".")[0] for name in _imports(path)}, place


def test_losses_import_torch_alone() -> None:
    for path in _files("distill_worker/losses"):
        for name in _imports(path):
            library = name.split(".")[0]
            ours = name.startswith("distill_worker.losses")
            assert ours or library == "torch" or library in sys.stdlib_module_names, (path, name)


@pytest.mark.parametrize(
    "place",
    ["train.py", "batches.py", "training_set.py", "schedule.py", "methods/", "mixing.py", "evaluate.py", "augment.py"],
)
def test_training_sees_neither_teacher_nor_cache(place: str) -> None:
    rooms = (
        "distill_worker.teachers",
        "distill_worker.cache",
        "distill_worker.buying.fetch",
        "distill_worker.runs.targets",
    )
    for path in _files(f"distill_worker/{place}"):
        for name in _imports(path):
            assert not name.startswith(rooms), (path, name)
