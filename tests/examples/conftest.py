"""A teacher of the digits, behind a real service, for the examples in Python."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from distill_worker import distill
from tests.end_to_end.processes import RunningService

QUOTA = 300


@pytest.fixture(scope="session")
def teacher_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained on the labels: good enough that its outputs agree with them."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    folder = tmp_path_factory.mktemp("teacher")
    _, report = distill(
        "resnet8",
        images[:1300],
        n=1200,
        labels=digits.target[:1300],
        test=(images[1300:], digits.target[1300:]),
        class_names=list("0123456789"),
        method="ce",
        training={"steps": 150},
        output={"report": False},
        directory=folder / "run",
        cache=folder / "cache.sqlite",
        device="cpu",
        quiet=True,
    )
    assert report.accuracy is not None
    assert report.accuracy > 0.8
    return report.directory / "student.safetensors"


@pytest.fixture
def service(teacher_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningService]:
    """It runs; TEACHER_URL and TEACHER_API_KEY, with a quota, are those of it, and the working directory is empty."""
    running = RunningService(teacher_weights, tmp_path / "service")
    running.start()
    try:
        monkeypatch.setenv("TEACHER_URL", running.url)
        monkeypatch.setenv("TEACHER_API_KEY", running.create_key("python", quota=QUOTA))
        (tmp_path / "work").mkdir()
        monkeypatch.chdir(tmp_path / "work")
        yield running
    finally:
        running.kill()
