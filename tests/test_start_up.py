"""What a command imports: help, lists, keys and caches do without the libraries that take seconds to import."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import typer

from distill_worker.cache import Cache
from tests.distill_worker.purchases import intend

LIBRARIES: Final = (
    *("torch", "torchvision", "scipy", "sklearn", "numpy", "sqlalchemy", "alembic", "httpx", "ray"),
    *("matplotlib", "PIL"),
)

_RUN: Final = """
import contextlib, json, os, sys
from {program}.__main__ import main

imported = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["{program}", *arguments]
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        try:
            main()
        except SystemExit as ended:
            assert ended.code == {status}, (arguments, ended.code)
    imported.append([library for library in {libraries} if library in sys.modules])
print(json.dumps(imported))
"""


def imported_by(
    program: str,
    *commands: list[str],
    status: int = 0,
    data_dir: Path | None = None,
    libraries: Sequence[str] = LIBRARIES,
) -> dict[str, set[str]]:
    """Which of these libraries a fresh process has imported after each of these commands, which it runs one by one.

    Each ends with the exit status.
    """
    code = _RUN.format(program=program, libraries=tuple(libraries), status=status)
    environment = os.environ if data_dir is None else os.environ | {"TEACHER_DATA_DIR": str(data_dir)}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)], capture_output=True, text=True, check=True, env=environment
    )
    names = (" ".join(command) for command in commands)
    return dict(zip(names, map(set, json.loads(done.stdout)), strict=True))


def _help_of_all(app: typer.Typer, *before: str) -> Iterator[list[str]]:
    """`--help` of the program and of each of its commands."""
    yield [*before, "--help"]
    for command in app.registered_commands:
        yield [*before, str(command.name or getattr(command.callback, "__name__", "")), "--help"]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _help_of_all(group.typer_instance, *before, str(group.name))


@pytest.mark.parametrize("program", ["distill_worker", "teacher_service"])
def test_help_imports_the_terminal_alone(program: str) -> None:
    """Of every command: what a command does is imported when it runs."""
    commands = list(_help_of_all(import_module(f"{program}.cli.command").app))
    assert len(commands) > 10
    imported = imported_by(program, *commands)
    assert {command: libraries for command, libraries in imported.items() if libraries} == {}


@pytest.mark.parametrize(
    ("arguments", "status", "more"),
    [(["--version"], 0, ["pydantic"]), (["--help"], 0, ["pydantic"]), (["rnu"], 2, []), (["plan", "--jsn"], 2, [])],
)
def test_version_and_mistyped_command_import_the_terminal_alone(
    arguments: list[str], status: int, more: list[str]
) -> None:
    """Version and help do without what checks a configuration, too; typer needs it to read a command line."""
    imported = imported_by("distill_worker", arguments, status=status, libraries=(*LIBRARIES, *more))
    assert imported == {" ".join(arguments): set()}


def test_lists_and_caches_need_no_pytorch(tmp_path: Path) -> None:
    """Neither does a file of a cache: it is exported, verified and imported without."""
    cache, file = str(tmp_path / "cache.sqlite"), str(tmp_path / "outputs.safetensors")
    imported = imported_by("distill_worker", ["methods"], ["strategies"], ["datasets", "--json"])
    assert set.union(*imported.values()) <= {"numpy"}
    with Cache(cache) as opened:
        purchase = intend(opened, opened.stream("teacher", "logits"), [bytes(32)], payer="payer")
        opened.complete(purchase, {"logits": np.zeros((1, 3), np.float32)})
    commands = (
        ["stats", cache],
        ["verify", cache],
        ["export", file, "--cache", cache],
        ["import", file, "--cache", cache],
    )
    imported = imported_by("distill_worker", *(["cache", *command] for command in commands))
    assert set.union(*imported.values()) == {"numpy", "sqlalchemy"}


def test_keys_and_the_log_need_no_pytorch(tmp_path: Path) -> None:
    """Alembic is imported to create a ledger, and not to open it again."""
    create = ["keys", "create", "--quota", "5", "--name"]
    assert "torch" not in set.union(*imported_by("teacher_service", [*create, "first"], data_dir=tmp_path).values())
    assert (tmp_path / "ledger.sqlite").exists()
    imported = imported_by(
        "teacher_service",
        [*create, "second"],
        ["keys", "list"],
        ["log", "verify"],
        ["log", "export"],
        data_dir=tmp_path,
    )
    assert set.union(*imported.values()) == {"numpy", "sqlalchemy"}


def test_wrong_setting_ends_the_service_before_pytorch_is_imported() -> None:
    imported = imported_by("teacher_service", ["serve", "--port", "70000"], status=2)
    assert "torch" not in set.union(*imported.values())


_INTERRUPTED: Final = """
import sys
from {program}.__main__ import main

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "torch":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
sys.argv = ["{program}", *{arguments}]
main()
"""


@pytest.mark.parametrize(
    ("program", "arguments"), [("distill_worker", ["plan", "run.toml"]), ("teacher_service", ["serve"])]
)
def test_interrupt_while_a_command_imports_has_its_status(program: str, arguments: list[str]) -> None:
    """And no traceback."""
    code = _INTERRUPTED.format(program=program, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr
