"""The floor plan: what import-linter does not see."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = ("shared", "teacher_service", "distill_worker")
LEAVES: Final = {"losses", "datasets", "selection", "networks", "versions"}
"""Rooms of leaves of one kind, which may hold more."""
MOST_ENTRIES: Final = 12
MOST_OF_A_PACKAGE: Final = 13
"""At the root of a package: its rooms, and `errors`, which all of them import."""


def _rooms() -> Iterator[Path]:
    for package in PACKAGES:
        for folder in [ROOT / package, *(ROOT / package).rglob("*")]:
            if folder.is_dir() and (folder / "__init__.py").exists():
                yield folder


def _entries(room: Path) -> list[str]:
    modules = [path.stem for path in room.glob("*.py") if not path.stem.startswith("__")]
    return modules + [path.name for path in room.iterdir() if path.is_dir() and path.name != "__pycache__"]


@pytest.mark.parametrize("room", list(_rooms()), ids=lambda room: str(room.relative_to(ROOT)))
def test_room_can_be_taken_in_at_a_glance(room: Path) -> None:
    if room.name not in LEAVES:
        most = MOST_OF_A_PACKAGE if room.name in PACKAGES else MOST_ENTRIES
        assert len(_entries(room)) <= most, sorted(_entries(room))


@pytest.mark.parametrize("room", list(_rooms()), ids=lambda room: str(room.relative_to(ROOT)))
def test_module_has_no_name_of_the_standard_library(room: Path) -> None:
    assert not set(_entries(room)) & sys.stdlib_module_names


def _imported(module: Path) -> set[str]:
    """The full names of the modules that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


@pytest.mark.parametrize(
    "module", sorted((ROOT / "distill_worker" / "losses").glob("*.py")), ids=lambda path: path.stem
)
def test_loss_imports_torch_alone(module: Path) -> None:
    """Beside the standard library and other losses: import-linter sees only the packages that a contract names."""
    others = {name for name in _imported(module) if not f"{name}.".startswith("distill_worker.losses.")}
    assert {name.partition(".")[0] for name in others} - sys.stdlib_module_names <= {"torch"}
