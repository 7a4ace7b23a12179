"""The containers: what the image has, and what may be chosen when they start."""

import re
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
COMPOSE: Final = (ROOT / "docker-compose.yml").read_text()


def test_image_has_the_packages_that_onnx_models_need() -> None:
    """From the lock file that the image installs."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    needed = {re.split(r"[<>=]", requirement)[0] for requirement in extras["onnx"]}
    assert "onnxruntime" in needed
    assert needed <= locked
    assert "--extra onnx" in (ROOT / "Dockerfile").read_text()


def test_own_file_takes_the_place_of_the_demos_teacher() -> None:
    """A relative path starts at the folder in which ./runs is mounted, which the service only reads."""
    assert "TEACHER_WEIGHTS: ${TUITION_WEIGHTS:-/teacher/digits/student.safetensors}" in COMPOSE
    assert "./runs:/tuition/runs:ro" in COMPOSE
    assert "WORKDIR /tuition\n" in (ROOT / "Dockerfile").read_text()
