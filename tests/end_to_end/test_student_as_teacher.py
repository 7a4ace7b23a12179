"""A student is the next teacher: its ONNX file is served, and its outputs are bought."""

from pathlib import Path

import numpy as np
import torch

from distill_worker.config.run_config import RunConfig
from distill_worker.teachers.open_teacher import teacher_at
from distill_worker.training.finished.export import export_student, target_of
from distill_worker.training.finished.images import Images
from distill_worker.training.finished.student import load_student
from tests.end_to_end.processes import RunningService


def test_bought_outputs_of_an_exported_onnx_file_equal_the_students(weights: Path, tmp_path: Path) -> None:
    """To 1e-4, in requests of several sizes; the service needs no option but the file."""
    images = np.random.default_rng(2).integers(0, 256, (9, 1, 8, 8), dtype=np.uint8)
    student = load_student(weights)
    target = target_of(weights, "onnx", tmp_path / "student.onnx")
    exported = export_student(student, target, Images(torch.from_numpy(images), "9 images"))
    assert exported.largest_difference < 1e-4
    with torch.inference_mode():
        expected = student.network(student.inputs(torch.from_numpy(images))).numpy()
    service = RunningService(target.file, tmp_path / "service")
    service.start()
    try:
        address, key = RunConfig.model_fields["teacher"].default, service.create_key("student", quota=9)
        with teacher_at(address, url=service.url, api_key=key) as teacher:
            description = teacher.describe()
            for start, stop in ((0, 1), (1, 9)):
                answer = teacher.buy(
                    images[start:stop], description=description, idempotency_key=f"from {start}", outputs=("logits",)
                )
                np.testing.assert_allclose(answer.outputs["logits"], expected[start:stop], atol=1e-4, rtol=0)
        assert service.quota(key)["used"] == 9
        assert description.class_names == student.card.class_names
    finally:
        service.kill()
