"""A PyTorch that cannot be used is named before anything imports it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NO_NMS = 'raise RuntimeError("operator torchvision::nms does not exist")'
NO_LIBRARY = 'raise ImportError("libcudart.so.13: cannot open shared object file")'


@pytest.mark.parametrize(
    ("package", "code", "says"),
    [
        ("torchvision", NO_NMS, "got one that does not (operator torchvision::nms does not exist)"),
        ("torch", NO_LIBRARY, "torch cannot be imported (libcudart.so.13: cannot open shared object file)"),
    ],
)
def test_broken_pytorch_has_a_remedy(package: str, code: str, says: str, tmp_path: Path) -> None:
    """A package of that name, which fails as a wrong build does, comes before the installed one."""
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(code)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "distill_worker", "doctor", "run.toml", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    findings = json.loads(done.stdout)["findings"]
    [fault] = [finding for finding in findings if finding["grade"] == "fault"]
    assert fault["check"] == "pytorch"
    assert says in fault["line"]
    assert "pip install --force-reinstall torch torchvision" in fault["remedy"]
    assert [finding["check"] for finding in findings if finding["grade"] == "not checked"] == ["all others"]
    assert done.returncode == 6
    assert "Traceback" not in done.stderr
