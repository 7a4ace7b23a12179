"""Each error of the worker has the exit status that its class documents."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from distill_worker import errors
from distill_worker.errors import WorkerError
from shared.exit_status import ExitStatus

SOURCES = sorted(Path(errors.__file__).parent.rglob("*.py"))


def _classes(error: type[WorkerError]) -> Iterator[type[WorkerError]]:
    for child in error.__subclasses__():
        yield child
        yield from _classes(child)


def test_tree_of_errors_names_every_class_with_its_exit_status() -> None:
    drawn = dict(re.findall(r"── (\w+) +(\d+) ", errors.__doc__ or ""))
    assert drawn == {error.__name__: str(error.exit_status.value) for error in _classes(WorkerError)}


def test_every_error_has_a_status_of_its_kind() -> None:
    assert ExitStatus.UNEXPECTED_ERROR not in {error.exit_status for error in _classes(WorkerError)}


def test_base_without_a_status_is_never_raised() -> None:
    raised = [
        f"{path}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "WorkerError"
    ]
    assert raised == []
