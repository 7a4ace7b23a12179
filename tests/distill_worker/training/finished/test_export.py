"""An exported file computes what the student computes, or is not there."""

import io
import json
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from distill_worker.errors import CheckFailed, ConfigError, WeightsFileError
from distill_worker.training.finished.export import Target, export_student, target_of
from distill_worker.training.finished.formats import FORMATS, SafetensorsFormat
from distill_worker.training.finished.images import Images, images_to_compare
from distill_worker.training.finished.onnx_format import OPSET
from distill_worker.training.finished.student import FinishedStudent
from distill_worker.training.finished.tracing import Run
from shared.weights import WeightsCard, load_weights

DRAWN = Images(
    torch.randint(0, 256, (7, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)), "7 images"
)


def _files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", FORMATS)
def test_file_stands_beside_its_model_card(runs: Path, student: FinishedStudent, name: str) -> None:
    """By default in the run directory, and nothing else does."""
    target = target_of(runs / "finished", name, None)
    exported = export_student(student, target, DRAWN)
    assert exported.largest_difference < 1e-4
    assert target.file.parent == runs / "finished" / "export" / name
    assert _files_in(target.file.parent) == {target.file.name, "README.md"}


def test_weights_file_is_copied_bit_for_bit(runs: Path, student: FinishedStudent, tmp_path: Path) -> None:
    """So its fingerprint stays, and with it the teacher's id."""
    target = target_of(runs / "finished", "safetensors", tmp_path / "new" / "digits.safetensors")
    export_student(student, target, DRAWN)
    card, _, fingerprint = load_weights(target.file, trust_code=True)
    assert (card, fingerprint) == (student.card, student.fingerprint)


def test_onnx_model_takes_named_batches_of_any_size(runs: Path, student: FinishedStudent, tmp_path: Path) -> None:
    """Its card is among its metadata properties, and its operators are those of the stated opset."""
    target = target_of(runs / "finished", "onnx", tmp_path / "digits.onnx")
    export_student(student, target, DRAWN)
    session = onnxruntime.InferenceSession(target.file)
    inputs = student.inputs(DRAWN.pixels)
    for size in (1, 2, 7):
        [logits] = session.run(["logits"], {"images": inputs[:size].numpy()})
        with torch.inference_mode():
            torch.testing.assert_close(torch.from_numpy(logits), student.network(inputs[:size]), atol=1e-4, rtol=0)
    card = session.get_modelmeta().custom_metadata_map["tuition"]
    assert WeightsCard.model_validate_json(card) == student.card
    assert [entry.version for entry in onnx.load(target.file).opset_import if not entry.domain] == [OPSET]


def test_program_of_torch_export_has_the_card(runs: Path, student: FinishedStudent, tmp_path: Path) -> None:
    target = target_of(runs / "finished", "torch-export", tmp_path)
    export_student(student, target, DRAWN)
    extra = {"tuition": ""}
    program = torch.export.load(io.BytesIO(target.file.read_bytes()), extra_files=extra).module()
    assert WeightsCard.model_validate(json.loads(extra["tuition"])) == student.card
    inputs = student.inputs(DRAWN.pixels)
    with torch.inference_mode():
        torch.testing.assert_close(program(inputs[:3]), student.network(inputs[:3]), atol=1e-4, rtol=0)


class _Altered(SafetensorsFormat):
    """A format whose files compute something else."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        self._change = change

    def opened(self, content: bytes, student: FinishedStudent) -> Run:
        run = super().opened(content, student)
        return lambda inputs: self._change(run(inputs))


@pytest.mark.parametrize("change", [lambda logits: logits + 2e-4, lambda logits: logits * torch.nan])
def test_file_that_computes_something_else_is_not_written(
    student: FinishedStudent, tmp_path: Path, change: Callable[[Tensor], Tensor]
) -> None:
    target = Target(_Altered(change), tmp_path / "new" / "student.safetensors")
    with pytest.raises(CheckFailed, match=r"got a difference of .* on 7 images; nothing was written"):
        export_student(student, target, DRAWN)
    assert not target.file.parent.exists()


class _Untraceable(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, : 10 if float(images.sum()) > 0 else 9]


def test_network_that_cannot_be_traced_is_named(
    student: FinishedStudent, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In one error, without what PyTorch prints of it."""
    target = target_of(tmp_path, "torch-export", tmp_path / "new")
    with pytest.raises(ConfigError, match=r"a program of torch\.export, got .*--format safetensors writes"):
        export_student(replace(student, network=_Untraceable()), target, DRAWN)
    assert capfd.readouterr() == ("", "")
    assert not target.file.parent.exists()


def test_full_disk_leaves_no_half_file(runs: Path, student: FinishedStudent, tmp_path: Path) -> None:
    """The limit of a file's size stands for the full disk."""
    target = target_of(runs / "finished", "safetensors", tmp_path / "new")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(WeightsFileError, match=r"File too large.*Free some space"):
            export_student(student, target, DRAWN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert _files_in(tmp_path / "new") == set()


@pytest.mark.parametrize("existing", ["student.onnx", "README.md"])
def test_no_file_is_replaced(runs: Path, tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    with pytest.raises(ConfigError, match=f"{existing}: expected no file of this name"):
        target_of(runs / "finished", "onnx", tmp_path)
    assert (tmp_path / existing).read_text() == "mine"


def test_name_that_ends_as_those_of_another_format_is_an_error(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a file whose name ends in \.onnx"):
        target_of(runs / "finished", "onnx", tmp_path / "digits.pt2")


def test_missing_package_is_named_before_anything_is_written(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match="without onnxscript; install tuition with its `onnx` extra"):
        target_of(runs / "finished", "onnx", tmp_path)


def test_images_are_those_of_the_data_set_from_its_whole_length(student: FinishedStudent, tmp_path: Path) -> None:
    notes: list[str] = []
    images = images_to_compare(student.card, root=tmp_path, path=None, note=notes.append)
    assert (images.origin, list(images.pixels.shape), notes) == ("32 test images of digits", [32, 1, 8, 8], [])


@pytest.mark.parametrize("name", ["fashion-mnist", "npz", None])
def test_images_are_drawn_where_the_data_set_is_not_at_hand(
    student: FinishedStudent, tmp_path: Path, name: str | None
) -> None:
    card = student.card.model_copy(update={"provenance": {} if name is None else {"data": name}})
    notes: list[str] = []
    images = images_to_compare(card, root=tmp_path, path=None, note=notes.append)
    assert (images.origin, list(images.pixels.shape)) == ("32 drawn images", [32, 1, 8, 8])
    assert len(notes) == (0 if name is None else 1)


def test_data_that_are_named_and_do_not_fit_are_an_error(student: FinishedStudent, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.path: expected no value"):
        images_to_compare(student.card, root=tmp_path, path=tmp_path, note=print)
