"""A user's file that uses the API passes `mypy --strict`."""

import os
import subprocess
import sys
from pathlib import Path

from tests.endurance import HANG_SECONDS

ROOT = Path(__file__).parents[3]
_USER = """
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from distill_worker import Bought, Class, Model, Objective, Report, WorkerError, buy, distill, load

images = np.zeros((4, 1, 8, 8), np.uint8)


class Pictures(Dataset[tuple[Image.Image, int]]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new("L", (8, 8)), 3


def bought_in_every_form() -> list[Bought]:
    forms = [
        buy(images, url="https://teacher.example.org", n=2, cache="bought.sqlite", api_key="key"),
        buy(torch.from_numpy(images), n=2, strategy="random", seed=1, max_calls=5, quiet=True),
        buy(Pictures(), n=2, price_per_call=0.1, yes=True, teacher={"protocol": "open-inference"}),
        buy("photos", n=2, image_size=(8, 8)),
    ]
    for bought in forms:
        for pictures, log_probabilities, index in DataLoader(bought, batch_size=2):
            print(pictures, log_probabilities, index)
        remaining: int | None = bought.remaining
        indices: Tensor = bought.indices
        print(remaining, indices, bought.held, bought.class_names, bought[0][1])
    return forms


def trained(network: nn.Module, bought: Bought) -> tuple[Model, Report]:
    student, report = distill(network, images, bought=bought, training={"steps": 3})
    accuracy: float | None = report.accuracy
    print(accuracy, report.directory / "report.html", report.result["n"])
    distill("resnet8", Pictures(), url="https://teacher.example.org", n=2, labels=[0, 1, 0, 1], test=Pictures())
    distill("resnet8", images, bought=bought, test=(images, np.arange(4)), method={"name": "kd", "weight": 1.0})
    return student, report


def used(model: Model) -> None:
    logits: Tensor = model(torch.from_numpy(images))
    one: tuple[Class, ...] = model.predict("photo.jpg")
    many: list[tuple[Class, ...]] = model.predict(["photo.jpg", "other.jpg"], top=3)
    name: str = one[0].name
    print(logits, name, many, load("student.safetensors", nn.Linear(2, 2), trust_code=False))


def loss() -> Tensor:
    objective = Objective("kd + ckd(pairing=anchors)", num_classes=10, outputs=torch.zeros(4, 10))
    total: Tensor = objective(torch.zeros(4, 10), torch.zeros(4, 10), torch.zeros(4).long())
    return total


try:
    used(load("run"))
except WorkerError as error:
    print(error)
"""


def test_file_of_a_user_passes_strict_mypy(tmp_path: Path) -> None:
    """And a mistake in it does not."""
    (tmp_path / "right.py").write_text(_USER)
    (tmp_path / "wrong.py").write_text("from distill_worker import load\n\nload('x').predict('a')[0].nam\nload(3)\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")),
            *("--follow-imports", "silent", "--no-error-summary", "--cache-dir", str(tmp_path / "cache")),
            *("right.py", "wrong.py"),
        ],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_SECONDS,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("right.py")] == [], done.stdout + done.stderr
    assert ['has no attribute "nam"' in line for line in lines if "wrong.py:3" in line] == [True], done.stdout
    assert any("wrong.py:4" in line and "arg-type" in line for line in lines)
