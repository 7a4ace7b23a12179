"""What a student says of pictures, as files of any size and colour."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from distill_worker.data.datasets import load_dataset
from distill_worker.errors import ConfigError, DataError, WeightsFileError
from distill_worker.training.finished.predict import Prediction, pictures_in, predictions
from distill_worker.training.finished.student import FinishedStudent
from shared.degradation import Degradation, degrade


def _predicted(student: FinishedStudent, *paths: Path, top: int = 3) -> tuple[list[Prediction], list[str]]:
    """The predictions, and the notes."""
    notes: list[str] = []
    return predictions(student, pictures_in(paths, note=notes.append), top=top, note=notes.append), notes


def _picture(path: Path, mode: str = "L", size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def test_pictures_of_a_data_set_get_what_its_pixels_get(student: FinishedStudent, tmp_path: Path) -> None:
    """Classes by probability, with the softmax of the logits; each file under its own path."""
    images = load_dataset("digits", tmp_path).test.images[:5]
    paths = [tmp_path / f"{row}.png" for row in range(5)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[0].numpy()).save(path)
    predicted, notes = _predicted(student, *paths, top=2)
    with torch.inference_mode():
        expected = student.network(student.inputs(images)).double().softmax(dim=1).topk(2)
    assert notes == []
    assert [one.image for one in predicted] == [str(path) for path in paths]
    names = [[student.card.class_names[index] for index in row] for row in expected.indices.tolist()]
    assert [[each.name for each in one.top] for one in predicted] == names
    got = [[each.probability for each in one.top] for one in predicted]
    np.testing.assert_allclose(got, expected.values, atol=1e-9)


def test_more_classes_than_there_are_are_all_of_them(student: FinishedStudent, tmp_path: Path) -> None:
    [one], _ = _predicted(student, _picture(tmp_path / "a.png"), top=99)
    assert len(one.top) == 10
    assert sum(each.probability for each in one.top) == pytest.approx(1)


def test_degradation_of_the_card_counts(student: FinishedStudent, tmp_path: Path) -> None:
    """As in the answers of the service."""
    worse = Degradation(noise=5.0)
    degraded = replace(student, card=student.card.model_copy(update={"degradation": worse}))
    path = _picture(tmp_path / "a.png")
    pixels = np.asarray(Image.open(path)).reshape(1, 1, 8, 8)
    with torch.inference_mode():
        logits = student.network(student.inputs(torch.tensor(pixels))).numpy()
    expected = torch.from_numpy(degrade(logits, pixels, worse)).double().softmax(dim=1).max()
    [one], _ = _predicted(degraded, path)
    assert one.top[0].probability == pytest.approx(float(expected))


def test_other_sizes_and_colours_become_what_the_student_takes(student: FinishedStudent, tmp_path: Path) -> None:
    """And a note counts them. A student of colour images gets three equal channels of a grey one."""
    paths = [_picture(tmp_path / "a.png", "RGB", (30, 20)), _picture(tmp_path / "b.png", "RGBA"), tmp_path / "c.png"]
    _picture(paths[2])
    _, notes = _predicted(student, *paths)
    assert notes == [
        "1 image resized to 8x8 (height x width), the size that the student takes",
        "2 images changed from colour to grey, which the student takes",
    ]
    means = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    card = student.card.model_copy(
        update={"in_channels": 3, "mean": (0.0,) * 3, "std": (1.0,) * 3, "class_names": ("r", "g", "b")}
    )
    [one], notes = _predicted(replace(student, card=card, network=means), paths[2])
    assert notes == []
    np.testing.assert_allclose([each.probability for each in one.top], [1 / 3] * 3, atol=1e-6)


@pytest.mark.parametrize(
    ("provenance", "is_upright"),
    [
        ({"data": "digits"}, True),
        ({"data": "image-folder"}, False),  # an earlier version, which named no rules
        ({"data": "image-folder", "picture_rules": 2}, True),
    ],
)
def test_pictures_are_read_by_the_rules_of_the_training(
    student: FinishedStudent, tmp_path: Path, provenance: dict[str, object], is_upright: bool
) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.rot90(stored, -1) if is_upright else stored).save(tmp_path / "expected.png")
    student = replace(student, card=student.card.model_copy(update={"provenance": provenance}))
    (turned, expected), _ = _predicted(student, tmp_path / "turned.png", tmp_path / "expected.png")
    assert turned.top == expected.top


def test_folder_stands_for_its_image_files(student: FinishedStudent, tmp_path: Path) -> None:
    """Also deeper ones, in the order of their names, without hidden files; other files are counted."""
    paths = [_picture(tmp_path / name) for name in ("photos/a.png", "photos/b.png", "photos/deep/a.JPG", "z.png")]
    _picture(tmp_path / "photos/.hidden.png")
    (tmp_path / "photos/notes.txt").write_text("no picture")
    predicted, notes = _predicted(student, paths[3], tmp_path / "photos")
    assert [one.image for one in predicted] == [str(path) for path in (paths[3], *paths[:3])]
    assert notes == ["skipped files that are not read: 1 .txt; convert pictures to PNG or JPEG"]


def test_files_that_cannot_be_read_are_all_named(student: FinishedStudent, tmp_path: Path) -> None:
    good = _picture(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "empty.png").touch()
    with pytest.raises(
        DataError, match=r"empty\.png: expected a picture.*text\.png: .* file \(of no known format\)"
    ) as error:
        _predicted(student, tmp_path / "empty.png", good, tmp_path / "text.png")
    assert "good.png" not in str(error.value)
    with pytest.raises(DataError, match=r"cut\.png: expected a picture, got an unreadable file"):
        _predicted(student, good, tmp_path / "cut.png")


def test_paths_without_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"got none at .*absent\.png"):
        pictures_in([tmp_path / "absent.png"], note=print)
    with pytest.raises(DataError, match=r"expected image files in the folder .*empty"):
        pictures_in([tmp_path / "empty"], note=print)


def test_network_of_other_channels_is_named(student: FinishedStudent, tmp_path: Path) -> None:
    card = student.card.model_copy(update={"in_channels": 2})
    with pytest.raises(ConfigError, match="got one of 2 channels"):
        _predicted(replace(student, card=card), _picture(tmp_path / "a.png"))


def test_logits_that_are_not_finite_are_named(student: FinishedStudent, tmp_path: Path) -> None:
    last = nn.Linear(64, 10)
    nn.init.constant_(last.weight, torch.inf)
    with pytest.raises(WeightsFileError, match="expected finite logits"):
        _predicted(replace(student, network=nn.Sequential(nn.Flatten(), last)), _picture(tmp_path / "a.png"))
