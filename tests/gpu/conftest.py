"""The devices that these tests run on: the CPU everywhere, and CUDA where there is a device."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests on CUDA on a machine without a device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and this machine has none"))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """A device."""
    return torch.device(str(request.param))


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
