"""A packed model is asked before it is served, and a picture is read as a person sees it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from shared.weights import WeightsCard, WeightsError
from teacher_service.models import ModuleTeacher
from teacher_service.models.packing.trial import check_answers, top_classes
from tests.teacher_service.made_elsewhere import card, pixels, small


def _teacher(network: nn.Module, description: WeightsCard | None = None) -> ModuleTeacher:
    return ModuleTeacher(description or card(), network.eval(), "f" * 16, "cpu")


class _InTraining(nn.Module):
    """A network as it answers in training mode, whatever mode it is put into."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.network, self.what = small(), what

    def forward(self, images: Tensor) -> Tensor:
        self.network.dropout.train(self.what == "dropout")
        self.network.features[1].train(self.what == "batch normalisation")
        logits: Tensor = self.network(images)
        return logits


def test_network_in_evaluation_mode_passes() -> None:
    check_answers(_teacher(small()), Path("my.pth"))


@pytest.mark.parametrize("what", ["dropout", "batch normalisation"])
def test_network_in_training_mode_is_an_error(what: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(WeightsError, match=r"my\.pth: expected logits that depend on the image alone.*network\.eval"):
        check_answers(_teacher(_InTraining(what)), Path("my.pth"))


def test_logits_that_are_not_finite_are_an_error() -> None:
    network = small()
    with torch.no_grad():
        network.classifier.bias[1] = torch.nan
    with pytest.raises(WeightsError, match=r"my\.pth: expected finite logits"):
        check_answers(_teacher(network), Path("my.pth"))


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_probabilities_are_an_error(kind: torch.dtype) -> None:
    class Rounded(nn.Module):
        def forward(self, outputs: Tensor) -> Tensor:
            return outputs.to(kind).float()

    network = nn.Sequential(small(), nn.Softmax(dim=1), Rounded())
    with pytest.raises(WeightsError, match=r"my\.pth: expected logits.* probabilities.* without its last softmax"):
        check_answers(_teacher(network), Path("my.pth"))


@pytest.mark.parametrize("last", [nn.LogSoftmax(dim=1), nn.ReLU(), nn.Sigmoid()])
def test_outputs_that_are_no_probabilities_pass(last: nn.Module) -> None:
    """Log-probabilities are logits as good as others."""
    check_answers(_teacher(nn.Sequential(small(), last)), Path("my.pth"))


class _Brightest(nn.Module):
    """Logits that are the means of a picture's left, middle and right part, per channel of colour."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * 20 * torch.stack([part.mean((1, 2, 3)) for part in images.chunk(3, dim=3)], dim=1)


def _striped(width: int, height: int) -> NDArray[np.uint8]:
    """White in the right third, grey in the middle, black in the left one."""
    columns = np.repeat(np.array([0, 128, 255], np.uint8), width // 3)
    return np.broadcast_to(columns[None, :, None], (height, width, 3)).copy()


def _wide() -> WeightsCard:
    return card(image_size=(8, 24), mean=(0, 0, 0), std=(1, 1, 1))


@pytest.mark.parametrize("size", [(24, 8), (240, 80), (240, 200)])
def test_most_probable_class_is_first(size: tuple[int, int], tmp_path: Path) -> None:
    """Of a picture of any size, from which the centre is taken."""
    Image.fromarray(_striped(*size)).save(tmp_path / "striped.png")
    top = top_classes(_teacher(_Brightest(), _wide()), tmp_path / "striped.png", 2)
    assert [answer.name for answer in top] == ["ship", "dog"]
    assert top[0].probability == pytest.approx(1 / (1 + np.exp(20 * (128 / 255 - 1)) + np.exp(-20)), abs=1e-3)


def test_picture_is_upright(tmp_path: Path) -> None:
    turned = Image.fromarray(_striped(24, 8)).transpose(Image.Transpose.ROTATE_180)
    exif = Image.Exif()
    exif[0x0112] = 3
    turned.save(tmp_path / "turned.png", exif=exif)
    assert top_classes(_teacher(_Brightest(), _wide()), tmp_path / "turned.png", 1)[0].name == "ship"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_parts_are_white(mode: str, channels: int, tmp_path: Path) -> None:
    """The left third is black and transparent, the right one dark: the colour that is hidden does not count."""
    columns = np.repeat(np.array([0, 128, 64], np.uint8), 8)
    grey = Image.fromarray(np.broadcast_to(columns, (8, 24)).copy())
    file = tmp_path / "transparent.png"
    if mode in ("RGBA", "LA"):
        grey.putalpha(Image.fromarray(np.where(np.asarray(grey) == 0, 0, 255).astype(np.uint8)))
        grey.convert(mode).save(file)
    elif mode == "P":
        grey.convert("P").save(file, transparency=0)
    else:
        grey.convert("RGB").save(file, transparency=(0, 0, 0))
    changes = {"in_channels": channels, "mean": (0.0,) * channels, "std": (1.0,) * channels}
    top = top_classes(_teacher(_Brightest(), _wide().model_copy(update=changes)), file, 3)
    assert [answer.name for answer in top] == ["cat", "dog", "ship"]


@pytest.mark.parametrize(("mode", "ending"), [("I;16", "png"), ("I", "tif"), ("F", "tif")])
def test_picture_of_more_than_8_bits_is_an_error(mode: str, ending: str, tmp_path: Path) -> None:
    """It would be white: Pillow cuts its values at 255."""
    file = tmp_path / f"deep.{ending}"
    Image.new(mode, (24, 8), 1000).save(file)
    with pytest.raises(ValueError, match=rf"try: expected a picture of 8 bits a channel.*deep.*{mode}; convert it"):
        top_classes(_teacher(_Brightest(), _wide()), file, 1)


def test_grey_picture_of_a_grey_model(tmp_path: Path) -> None:
    Image.fromarray(_striped(24, 8)).save(tmp_path / "colour.png")
    grey = _wide().model_copy(update={"in_channels": 1, "mean": (0.0,), "std": (1.0,)})
    assert top_classes(_teacher(_Brightest(), grey), tmp_path / "colour.png", 1)[0].name == "ship"


def test_file_that_is_no_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=r"try: expected a picture, got .*notes\.txt"):
        top_classes(_teacher(small()), tmp_path / "notes.txt", 1)
    assert len(pixels(1)) == 1
