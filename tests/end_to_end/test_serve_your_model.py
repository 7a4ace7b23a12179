"""A model of another program is served by real processes: the commands of the page, and each kind of file."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import structlog
import torch
from PIL import Image
from safetensors.torch import save_file

import teacher_service
from distill_worker.config.run_config import RunConfig
from distill_worker.teachers.open_teacher import teacher_at
from distill_worker.training.finished.export import export_student, target_of
from distill_worker.training.finished.images import Images
from distill_worker.training.finished.student import load_student
from shared.networks import build_network
from tests.end_to_end.processes import RunningService, free_port, join, start
from tests.endurance import HANG_SECONDS
from tests.teacher_service.made_elsewhere import (
    FACTORY,
    MEAN,
    NAMES,
    SIZE,
    STD,
    expected,
    onnx_model,
    pixels,
    save_exported,
    save_torchscript,
    small,
)

PAGE: Final = (Path(__file__).parents[2] / "docs" / "serve-your-model.md").read_text()
_DOCUMENTED: Final = "torchvision:resnet50"
_QUICK: Final = "torchvision:shufflenet_v2_x0_5"


def test_commands_of_the_page_serve_a_checkpoint_and_answer_curl(tmp_path: Path) -> None:
    """At most five; only the network is a smaller one here."""
    (script,) = re.findall(r"```sh\n(.+?)```", PAGE, re.DOTALL)
    assert len(re.sub(r"\\\n", "", script).strip().splitlines()) <= 5
    torch.save(build_network(_QUICK, num_classes=10, in_channels=3).state_dict(), tmp_path / "my.pth")
    (tmp_path / "names.txt").write_text("".join(f"class {number}\n" for number in range(10)))
    drawn = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(drawn).save(tmp_path / "photo.jpg")
    port = free_port()
    assert _DOCUMENTED in script
    commands = script.replace(_DOCUMENTED, _QUICK).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    search_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    printed = tmp_path / "printed.txt"
    with printed.open("w") as output:  # a file: the service outlives the shell and would hold a pipe open
        shell = subprocess.Popen(
            ["/bin/sh", "-c", f"set -eu\n{commands}"],
            cwd=tmp_path,
            env={**os.environ, "PATH": search_path, "TEACHER_PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = shell.wait(timeout=HANG_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    text = printed.read_text()
    assert status == 0, text
    answer = json.loads(text[text.rindex('{"model_name"') :])
    assert {output["name"]: output["shape"] for output in answer["outputs"]}["top_k"] == [1, 5]
    assert "class of photo.jpg" in text


def test_python_code_of_the_page_serves_a_model() -> None:
    (code,) = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 3
    names: dict[str, Any] = {"model": build_network(_QUICK, num_classes=1000, in_channels=3)}
    exec(compile(code, "page", "exec"), names)  # noqa: S102 - the page's own code
    teacher: teacher_service.RunningService = names["teacher"]
    try:
        assert teacher.quota().remaining == 500
    finally:
        teacher.stop()
        structlog.reset_defaults()  # serve() set the level of this program's logs


_MADE: Final[Mapping[str, Callable[[Path], object]]] = {
    "state dict": lambda path: torch.save(small().state_dict(), path),
    "safetensors": lambda path: save_file(small().state_dict(), path),
    "whole network": lambda path: torch.save(small(), path),
    "torchscript": lambda path: save_torchscript(small(), path),
    "torch.export of one image": lambda path: save_exported(small(), path, batch=1),
    "onnx": lambda path: path.write_bytes(onnx_model()),
}


@pytest.mark.parametrize("kind", _MADE)
def test_bought_outputs_of_a_packed_model_equal_its_own(kind: str, tmp_path: Path) -> None:
    """In requests of several sizes, and each image is counted."""
    source, packed = tmp_path / "model.bin", tmp_path / "packed"
    _MADE[kind](source)
    (tmp_path / "own.py").write_text(FACTORY)
    network = ("--network", f"{tmp_path / 'own.py'}:make") if kind in ("state dict", "safetensors") else ()
    described = ("--mean", "0.5,0.4,0.3", "--std", "0.25,0.2,0.3", "--image-size", f"{SIZE[0]}x{SIZE[1]}")
    arguments = [
        "pack", "--model", str(source), *network, *described, "--class-names", ",".join(NAMES), "-o", str(packed),
        "--trust-code", "--trust-pickle",
    ]  # fmt: skip
    log = tmp_path / "pack.log"
    packing = start("teacher_service", arguments, log)
    join(packing)
    assert packing.exitcode == 0, log.read_text()
    images = pixels(6)
    service = RunningService(packed, tmp_path / "service", {"TEACHER_TRUST_CODE": "true"})
    service.start()
    try:
        key = service.create_key("client", quota=6)
        answers, names = _bought(service, key, images)
        if kind != "onnx":
            np.testing.assert_allclose(answers, expected(small(), images), rtol=1e-4, atol=1e-5)
        assert answers.shape == (6, 3)
        assert names == NAMES
        assert service.quota(key)["used"] == 6
    finally:
        service.kill()
    assert (MEAN, STD) == ((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))


def test_exported_program_of_a_student_is_served_as_it_is(weights: Path, tmp_path: Path) -> None:
    """It holds the card that the service reads; only its code needs trust."""
    images = np.random.default_rng(2).integers(0, 256, (5, 1, 8, 8), dtype=np.uint8)
    student = load_student(weights)
    target = target_of(weights, "torch-export", tmp_path / "student.pt2")
    export_student(student, target, Images(torch.from_numpy(images), "5 images"))
    with torch.inference_mode():
        logits = student.network(student.inputs(torch.from_numpy(images))).numpy()
    service = RunningService(target.file, tmp_path / "service", {"TEACHER_TRUST_CODE": "true"})
    service.start()
    try:
        key = service.create_key("client", quota=5)
        answers, names = _bought(service, key, images)
        np.testing.assert_allclose(answers, logits, rtol=0, atol=1e-4)
        assert names == student.card.class_names
    finally:
        service.kill()


def _bought(service: RunningService, key: str, images: Any) -> tuple[Any, tuple[str, ...] | None]:
    """The logits of the images, of which the first goes alone, and the names of the classes."""
    address = RunConfig.model_fields["teacher"].default
    with teacher_at(address, url=service.url, api_key=key) as teacher:
        description = teacher.describe()
        parts = [
            teacher.buy(
                images[first:last], description=description, idempotency_key=f"from {first}", outputs=("logits",)
            ).outputs["logits"]
            for first, last in ((0, 1), (1, len(images)))
        ]
    return np.concatenate(parts), description.class_names
