"""The devices that these tests run on: the CPU everywhere, and CUDA where there is a device."""

import os
import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests on CUDA on a machine without a device; with one, its warnings are shown and are no errors.

    Torch warns of its debug mode for synchronisations, of TF32, and of a context that cuBLAS has to make.
    """
    skip = pytest.mark.skip(reason="needs a CUDA device, and this machine has none")
    mark = pytest.mark.filterwarnings("default") if torch.cuda.is_available() else skip
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(mark)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """A device."""
    return torch.device(str(request.param))


@pytest.fixture
def compiler() -> None:
    """Skip a test where nothing can be compiled for CUDA: Triton needs a C++ compiler and Python's headers."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("needs a C++ compiler")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("needs the headers of Python, Python.h")


@contextmanager
def errors_at_synchronisation(device: torch.device) -> Iterator[None]:
    """On CUDA, let an operation that waits for the device raise `RuntimeError`."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
