"""Archives that other programs saved: made once, as that takes seconds."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.teacher_service.made_elsewhere import save_exported, save_torchscript, small


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """By what they hold."""
    folder, network = tmp_path_factory.mktemp("archives"), small()
    return {
        "torchscript": save_torchscript(network, folder / "scripted.pt"),
        "traced": save_torchscript(network, folder / "traced.pt", traced_with=2),
        "exported": save_exported(network, folder / "exported.pt2"),
        "fixed": save_exported(network, folder / "fixed.pt2", batch=3),
        "bounded": save_exported(network, folder / "bounded.pt2", batch=(2, 4)),
    }
