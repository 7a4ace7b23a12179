"""The training loops of examples/, against a real service."""

import os
import runpy
from pathlib import Path

import pytest

from tests.end_to_end.processes import RunningService

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_own_loop_learns_from_what_it_bought(service: RunningService) -> None:
    """The second time, it buys nothing."""
    main = runpy.run_path(str(EXAMPLES / "own_loop.py"))["main"]
    assert main(service.url, 100) > 0.7, "chance is 0.1"
    assert main(service.url, 100, epochs=0) < 0.7, "the loop taught it"
    assert service.quota(os.environ["TEACHER_API_KEY"])["used"] == 100


@pytest.mark.filterwarnings("ignore")  # Lightning warns of what it would do otherwise
def test_lightning_module_learns_from_what_it_bought(service: RunningService) -> None:
    pytest.importorskip("lightning", reason="Lightning is not installed, and no dependency")
    main = runpy.run_path(str(EXAMPLES / "lightning_module.py"))["main"]
    assert main(service.url, 100) > 0.7
    assert service.quota(os.environ["TEACHER_API_KEY"])["used"] == 100
