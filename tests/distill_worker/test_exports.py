"""What `distill_worker` exports, and what it costs to import it."""

import subprocess
import sys

import pytest

import distill_worker

_LIBRARIES = ("torch", "numpy", "pydantic", "rich", "sqlalchemy", "httpx")
_STABLE = {"buy", "distill", "load", "Objective", "Bought", "Model", "Class", "Report", "WorkerError", "ConfigError"}


def test_import_imports_no_library() -> None:
    """In a fresh process: each name is imported when it is used."""
    code = f"import distill_worker, sys; print([one for one in {_LIBRARIES} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_there_and_documented() -> None:
    assert _STABLE < set(distill_worker.__all__) <= set(dir(distill_worker))
    assert all(getattr(distill_worker, name).__doc__ for name in distill_worker.__all__)


def test_error_needs_no_pytorch() -> None:
    code = "from distill_worker import WorkerError; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sell'"):
        _ = distill_worker.sell  # type: ignore[attr-defined, unused-ignore]
