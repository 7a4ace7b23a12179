"""What is installed of the pages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[4]
_READ: Final = """
from distill_worker.experiments.report import page
environment = page._environment()
for name in environment.list_templates():
    environment.get_template(name)
    print(page.__file__, name)
"""


def test_templates_are_installed_with_the_package(tmp_path: Path) -> None:
    """A wheel holds every file of a package; the templates are read from beside the code, wherever that is."""
    shutil.copytree(ROOT / "distill_worker", tmp_path / "distill_worker", ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _READ], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    code = tmp_path / "distill_worker" / "experiments" / "report" / "page.py"
    names = ("base.html.j2", "comparison.html.j2", "parts.html.j2", "run.html.j2", "style.css", "sweep.html.j2")
    assert done.stdout.splitlines() == [f"{code} {name}" for name in names]
