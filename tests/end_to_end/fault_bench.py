"""What a fault of a run is planted with, and how doctor names it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.processes import RunningService


@dataclass
class Bench:
    """What a fault is planted with."""

    folder: Path
    patch: pytest.MonkeyPatch
    service: RunningService
    stack: ExitStack
    """Ends the servers."""

    def key(self, quota: int = 100) -> str:
        """A new key, in the environment."""
        token = self.service.new_key(self.folder.name, quota).token
        self.patch.setenv("TEACHER_API_KEY", token)
        return token


Plant = Callable[[Bench], Mapping[str, Any]]
"""Plants the fault; the settings of the run that lead to it."""


@dataclass(frozen=True)
class Planted:
    """One fault, and how doctor names it."""

    name: str
    """For the table in the documentation."""
    check: str
    says: str
    """A part of the line."""
    remedy: str
    """What to do."""
    plant: Plant
    grade: str = "fault"
    also: tuple[str, ...] = ()
    """Other checks that name it, too."""


def settings(**values: Any) -> Plant:
    """A run with these settings; `__` stands for a dot."""
    named = {name.replace("__", "."): value for name, value in values.items()}
    return lambda _: named


def variable(name: str, value: str, **settings: Any) -> Plant:
    """A run in an environment with this variable."""

    def set_variable(bench: Bench) -> Mapping[str, Any]:
        bench.patch.setenv(name, value)
        return {key.replace("__", "."): setting for key, setting in settings.items()}

    return set_variable
