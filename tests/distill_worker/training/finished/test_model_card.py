"""The model card: metadata that the Hugging Face hub reads, and code that runs as it stands."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distill_worker.training.finished.export import export_student, target_of
from distill_worker.training.finished.formats import FORMATS, SafetensorsFormat
from distill_worker.training.finished.model_card import Exported, model_card
from distill_worker.training.finished.predict import pictures_in, predictions
from distill_worker.training.finished.student import FinishedStudent
from shared.degradation import Degradation
from tests.distill_worker.training.finished.test_export import DRAWN

EXPORTED = Exported("student.safetensors", SafetensorsFormat(), 0.0, "7 images")
Execute = Callable[[str], None]


def test_hub_reads_the_metadata(student: FinishedStudent, tmp_path: Path) -> None:
    """With the client of the hub itself, which also knows the form of a result."""
    hub = pytest.importorskip("huggingface_hub")
    (tmp_path / "README.md").write_text(model_card(student, EXPORTED))
    data = hub.ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.pipeline_tag) == ("tuition", "image-classification")
    assert {"knowledge-distillation", "safetensors"} <= set(data.tags)
    [result] = data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.656)
    assert (result.dataset_name, result.dataset_split, result.task_type) == ("digits", "test", "image-classification")


def test_facts_of_the_run_are_in_the_card(student: FinishedStudent) -> None:
    text = model_card(student, EXPORTED)
    for fact in (
        "| test accuracy | 65.60% (328 of 500 test images) |",
        "| distilled from | the teacher `3e60c6cf56510a3a`, its logits |",
        "| teacher calls | 40 |",
        "| method | ckd+kd, track queried, n = 40, 60 steps, seed 0 |",
        f"| model version | `{student.fingerprint}`, of the weights file |",
        "teacher-service serve --weights student.safetensors --trust-code",
        "grey images of 8x8",
    ):
        assert fact in text


def test_network_without_a_run_has_no_result(student: FinishedStudent, tmp_path: Path) -> None:
    """Nor are facts made up for it."""
    foreign = replace(
        student,
        weights=tmp_path / "teacher.safetensors",
        card=student.card.model_copy(update={"provenance": {}, "degradation": Degradation(noise=1.0)}),
    )
    text = model_card(foreign, EXPORTED)
    assert "model-index" not in text
    assert "knowledge-distillation" not in text
    assert not {"test accuracy", "distilled from", "teacher calls", "method"} & set(
        re.findall(r"\| ([a-z ]+) \|", text)
    )
    assert "Tuition also adds the degradation" in text


@pytest.mark.parametrize("name", FORMATS)
def test_code_of_the_card_classifies_a_picture(
    runs: Path, student: FinishedStudent, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """It is run as it stands, on a colour picture of another size, and agrees with `predict`."""
    target = target_of(runs / "finished", name, tmp_path / "export")
    export_student(student, target, DRAWN)
    pixels = np.random.default_rng(3).integers(0, 256, (20, 12, 3), dtype=np.uint8)
    picture = tmp_path / "picture.png"
    Image.fromarray(pixels).save(picture)
    [code] = re.findall(r"```python\n(.*?)```", target.model_card.read_text(), flags=re.DOTALL)
    code = code.replace('"picture.png"', repr(str(picture))).replace(f'"{target.file.name}"', repr(str(target.file)))
    exec(code, {})  # noqa: S102 - it is our own text
    [predicted] = predictions(student, pictures_in([picture], note=print), top=1, note=lambda _: None)
    assert capsys.readouterr().out.strip() == predicted.top[0].name
