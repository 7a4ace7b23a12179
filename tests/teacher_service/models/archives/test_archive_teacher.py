"""A TorchScript archive or a program of torch.export, with a card in it, is a teacher like any other."""

import io
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch

from shared.weights import WeightsCard, WeightsError
from teacher_service.models import ArchiveTeacher, open_model, open_teacher
from teacher_service.models.archives.archive_file import ArchiveFile
from teacher_service.settings import Settings
from tests.teacher_service.made_elsewhere import SIZE, card, expected, pixels, save_exported, save_torchscript, small

KINDS: Final = ("torchscript", "traced", "exported", "fixed", "bounded")


def _packed(source: Path, folder: Path, description: WeightsCard | None = None, name: str = "packed.pt2") -> Path:
    path = folder / name
    path.write_bytes(ArchiveFile.read(source).with_card(description or card()))
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [1, 2, 5])
def test_gives_what_the_network_gives(kind: str, samples: int, archives: Mapping[str, Path], tmp_path: Path) -> None:
    """In batches of any size, also where the archive was saved for one size."""
    teacher = ArchiveTeacher(_packed(archives[kind], tmp_path), "cpu", trust_code=True)
    images = pixels(samples)
    np.testing.assert_allclose(teacher.predict(images), expected(small(), images), rtol=1e-4, atol=1e-5)
    assert teacher.outputs == {"logits": (3,)}
    assert teacher.image_shape == (3, *SIZE)


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_card_is_where_pytorch_reads_it(kind: str, archives: Mapping[str, Path], tmp_path: Path) -> None:
    path = _packed(archives[kind], tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "torchscript":
            extra: dict[str, str | bytes] = {"tuition": ""}
            torch.jit.load(path, _extra_files=extra)  # type: ignore[no-untyped-call]
        else:
            extra = {"tuition": ""}
            torch.export.load(path, extra_files=extra)
    assert WeightsCard.model_validate_json(extra["tuition"]) == card()


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_is_opened_by_its_content_and_only_when_trusted(
    kind: str, archives: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, no loader of PyTorch is called: to load such an archive is to run code of it."""
    path = _packed(archives[kind], tmp_path, name="model.safetensors")
    assert isinstance(open_model(path, "cpu", trust_code=True), ArchiveTeacher)
    for module in (torch.jit, torch.export, torch):
        monkeypatch.setattr(module, "load", lambda *_, **__: pytest.fail("the archive was loaded"))
    with pytest.raises(WeightsError, match="whose code runs when it is loaded; pass --trust-code"):
        open_teacher(Settings(weights=path, device="cpu"))


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_fingerprint_covers_program_and_card_and_not_the_file(
    kind: str, archives: Mapping[str, Path], tmp_path: Path
) -> None:
    """Nor the provenance in the card, nor an earlier card."""
    source = archives[kind]
    other = small()
    with torch.no_grad():
        other.classifier.bias[0] += 1
    save = save_torchscript if kind == "torchscript" else save_exported
    changed = save(other, tmp_path / "changed.pt2")
    cases = {
        "first": _packed(source, tmp_path),
        "same, by another name": _packed(source, tmp_path, name="other.pt"),
        "packed again": _packed(_packed(source, tmp_path, card(num_classes=3)), tmp_path, name="again.pt2"),
        "other provenance": _packed(source, tmp_path, card(provenance={"seed": 1}), name="provenance.pt2"),
        "other mean": _packed(source, tmp_path, card(mean=(0.5, 0.5, 0.5)), name="mean.pt2"),
        "other names": _packed(source, tmp_path, card(class_names=("dog", "cat", "ship")), name="names.pt2"),
        "other weights": _packed(changed, tmp_path, name="weights.pt2"),
    }
    prints = {name: ArchiveTeacher(path, "cpu", trust_code=True).fingerprint for name, path in cases.items()}
    same = {prints[name] for name in ("first", "same, by another name", "packed again", "other provenance")}
    assert len(same) == 1
    assert len(set(prints.values())) == 4


def test_copy_keeps_every_other_member(archives: Mapping[str, Path], tmp_path: Path) -> None:
    source = archives["exported"]
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(_packed(source, tmp_path)) as after:
        assert set(after.namelist()) - set(before.namelist()) == {"exported/extra/tuition"}
        assert all(after.read(name) == before.read(name) for name in before.namelist())


def _written_twice(source: Path, path: Path) -> Path:
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(path, "w") as after, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in [*before.namelist(), before.namelist()[0]]:
            after.writestr(name, before.read(name))
    return path


def _bomb(source: Path, path: Path) -> Path:
    """An archive with a member that is far larger than the file."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            after.writestr(name, before.read(name))
        after.writestr("exported/data/weights/large", bytes(65 * 2**20))
    return path


_BAD: Mapping[str, tuple[Callable[[Mapping[str, Path], Path], Path], str]] = {
    "no card": (lambda archives, _: archives["torchscript"], r"TorchScript archive without a card.*\n  .*--trust-code"),
    "no such card": (
        lambda archives, folder: _bad_card(archives["exported"], folder),
        "the description does not fit the tensors",
    ),
    "two of one name": (lambda archives, folder: _written_twice(archives["exported"], folder / "x"), "each name once"),
    "bomb": (lambda archives, folder: _bomb(archives["exported"], folder / "x"), "tensors that are not compressed"),
    "other size": (
        lambda archives, folder: _packed(archives["exported"], folder, card(image_size=(16, 16))),
        r"for images of shape \[3, 16, 16\], as its card says, got one that was saved for \[3, 12, 16\]",
    ),
    "other channels": (
        lambda archives, folder: _packed(archives["torchscript"], folder, card(in_channels=1, mean=(0,), std=(1,))),
        r"takes float \[batch, 1, height, width\].*failed",
    ),
    "other classes": (
        lambda archives, folder: _packed(
            archives["torchscript"], folder, card(num_classes=4, class_names=("a", "b", "c", "d"))
        ),
        r"logits \[batch, 4\], as its card says, got logits for 3 classes",
    ),
    "cut": (lambda archives, folder: _cut(archives["torchscript"], folder), "expected|cannot be read"),
    "damaged": (lambda archives, folder: _damaged(archives["torchscript"], folder), "cannot be read|can load"),
}


def _bad_card(source: Path, folder: Path) -> Path:
    path = folder / "bad.pt2"
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(path, "w") as after:
        for name in before.namelist():
            after.writestr(name, before.read(name))
        after.writestr("exported/extra/tuition", "{}")
    return path


def _cut(source: Path, folder: Path) -> Path:
    (folder / "cut.pt").write_bytes(source.read_bytes()[:-100])
    return folder / "cut.pt"


def _damaged(source: Path, folder: Path) -> Path:
    content = bytearray(_packed(source, folder).read_bytes())
    place = content.index(b"conv2d")
    content[place : place + 6] = b"vnoc2d"
    (folder / "damaged.pt").write_bytes(content)
    return folder / "damaged.pt"


@pytest.mark.parametrize("name", _BAD)
def test_archive_that_cannot_be_served_is_an_error(name: str, archives: Mapping[str, Path], tmp_path: Path) -> None:
    make, message = _BAD[name]
    with pytest.raises(WeightsError, match=message):
        ArchiveTeacher(make(archives, tmp_path), "cpu", trust_code=True)


def test_program_with_its_own_preprocessing_is_an_error(tmp_path: Path) -> None:
    """It takes raw pixels, and would be normalised twice."""

    class OwnPreprocessing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(images.float() / 255)
            return logits

    file = io.BytesIO()
    program = torch.export.export(OwnPreprocessing(), (torch.zeros(2, 3, *SIZE, dtype=torch.uint8),))
    torch.export.save(program, file)
    source = tmp_path / "own.pt2"
    source.write_bytes(file.getvalue())
    with pytest.raises(WeightsError, match=r"one tensor of images, float .*got one that takes torch\.uint8"):
        ArchiveTeacher(_packed(source, tmp_path), "cpu", trust_code=True)


def test_precision_is_the_program_s_own(archives: Mapping[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="precision: expected float32, got bfloat16"):
        ArchiveTeacher(_packed(archives["exported"], tmp_path), "cpu", trust_code=True, precision="bfloat16")


def test_same_image_gives_the_same_bits_at_each_pass(archives: Mapping[str, Path], tmp_path: Path) -> None:
    """TorchScript rewrites a program after its first passes, unless it is kept from it."""
    teacher, images = ArchiveTeacher(_packed(archives["torchscript"], tmp_path), "cpu", trust_code=True), pixels(2)
    assert len({teacher.predict(images).tobytes() for _ in range(6)}) == 1
