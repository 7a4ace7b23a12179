"""A teacher behind HTTP, and images that Python code has."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.http_teacher import served


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, where a call puts its files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def images() -> NDArray[np.uint8]:
    """Sixty distinct grey images of 8x8."""
    return np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), np.uint8)


@pytest.fixture
def teacher() -> FakeTeacher:
    """Of ten classes, with a quota of 40."""
    return FakeTeacher(limit=40, description=describe(shape=(1, 8, 8), num_classes=10))


@pytest.fixture
def url(teacher: FakeTeacher) -> Iterator[str]:
    """Where it is."""
    with served(teacher) as place:
        yield place
