"""The model card: metadata that the Hugging Face hub reads, and code that runs as it stands."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from distill_worker.training.finished.export import export_student, target_of
from distill_worker.training.finished.formats import FORMATS, SafetensorsFormat
from distill_worker.training.finished.model_card import Exported, model_card
from distill_worker.training.finished.predict import pictures_in, predictions
from distill_worker.training.finished.student import FinishedStudent, load_student
from shared.degradation import Degradation
from shared.weights import weights_bytes
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


def _pictures(folder: Path) -> list[Path]:
    """Pictures of 20x12 whose pixels are not simply those of the file: transparent, turned, with a palette, grey."""
    values = np.random.default_rng(3).integers(0, 256, (20, 12, 4), dtype=np.uint8)
    transparent, opaque = Image.fromarray(values), Image.fromarray(values[..., :3])
    pictures = {
        "colour.png": opaque,
        "transparent.png": transparent,
        "grey.png": opaque.convert("L"),
        "grey-transparent.png": transparent.convert("LA"),
        "palette.png": opaque.quantize(16),
    }
    for name, picture in pictures.items():
        picture.save(folder / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    opaque.save(folder / "turned.png", exif=turned)
    return [folder / name for name in (*pictures, "turned.png")]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("resize", [None, (8, 8)])
def test_code_of_the_card_sees_pictures_as_predict_does(
    runs: Path,
    student: FinishedStudent,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    resize: tuple[int, int] | None,
) -> None:
    """It is run as it stands, on pictures of another size and of many kinds."""
    place = runs / "finished"
    if resize is not None:
        changed = student.card.model_copy(update={"image_size": (11, 9), "resize": resize})
        place = tmp_path / "resizes.safetensors"
        place.write_bytes(weights_bytes(student.network, changed))
        student = load_student(place, trust_code=True)
    target = target_of(place, name, tmp_path / "export")
    height, width = student.card.image_size
    export_student(student, target, replace(DRAWN, pixels=torch.zeros(7, 1, height, width, dtype=torch.uint8)))
    [code] = re.findall(r"```python\n(.*?)```", target.model_card.read_text(), flags=re.DOTALL)
    pictures = _pictures(tmp_path)
    predicted = predictions(student, pictures_in(pictures, note=print), top=10, note=lambda _: None)
    for picture, expected in zip(pictures, predicted, strict=True):
        own = code.replace('"picture.png"', repr(str(picture))).replace(f'"{target.file.name}"', repr(str(target.file)))
        names: dict[str, Any] = {}
        exec(own, names)  # noqa: S102 - it is our own text
        logits, classes = torch.as_tensor(names["logits"][0]), list(student.card.class_names)
        probabilities = [float(logits.softmax(0)[classes.index(one.name)]) for one in expected.top]
        assert probabilities == pytest.approx([one.probability for one in expected.top], abs=1e-5), picture.name
        assert capsys.readouterr().out.strip() == expected.top[0].name


def test_code_of_the_card_ends_with_an_error_where_it_would_read_another_picture(
    runs: Path, student: FinishedStudent, tmp_path: Path
) -> None:
    """Pillow cuts off grey of 16 bits at 255."""
    target = target_of(runs / "finished", "safetensors", tmp_path / "export")
    export_student(student, target, DRAWN)
    [code] = re.findall(r"```python\n(.*?)```", target.model_card.read_text(), flags=re.DOTALL)
    picture = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(picture)
    code = code.replace('"picture.png"', repr(str(picture))).replace(f'"{target.file.name}"', repr(str(target.file)))
    with pytest.raises(SystemExit, match="8 bits a channel"):
        exec(code, {})  # noqa: S102 - it is our own text
