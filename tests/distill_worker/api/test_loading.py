"""A trained student as a module that takes images."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from distill_worker.api.loading import Model, load
from distill_worker.errors import DataError, RunError, WeightsFileError
from shared.networks import build_network
from shared.normalise import normalise
from shared.weights import WeightsCard, weights_bytes
from tests.distill_worker.cli.conftest import Command, command, facts_of

Pixels = NDArray[np.uint8]
__all__ = ["command"]
CLASSES = ("cat", "dog", "cow")


def _written(file: Path, network: nn.Module, name: str, *, resize: tuple[int, int] | None = None) -> Path:
    card = WeightsCard(
        network=name,
        num_classes=3,
        in_channels=1,
        image_size=(8, 8),
        resize=resize,
        mean=(0.4,),
        std=(0.3,),
        class_names=CLASSES,
    )
    file.write_bytes(weights_bytes(network, card))
    return file


@pytest.fixture
def network() -> nn.Module:
    """An untrained resnet8 of three classes."""
    torch.manual_seed(3)
    return build_network("resnet8", num_classes=3, in_channels=1).eval()


@pytest.fixture
def file(here: Path, network: nn.Module) -> Path:
    """Its weights file."""
    return _written(here / "student.safetensors", network, "resnet8")


def test_model_takes_images_and_normalises_them(file: Path, network: nn.Module, images: Pixels) -> None:
    """Pixels, or floats from 0 to 1: its logits are those of the network on what the card says."""
    model = load(file)
    pixels = torch.from_numpy(images)
    with torch.no_grad():
        expected = network(normalise(pixels, (0.4,), (0.3,)))
        assert torch.equal(model(pixels), expected)
        torch.testing.assert_close(model(pixels.float() / 255), expected, atol=1e-5, rtol=1e-5)
    assert (model.class_names, model.image_shape, model.training) == (CLASSES, (1, 8, 8), False)
    assert model.card.network == "resnet8"
    assert len(model.fingerprint) == 16
    assert isinstance(model.network, type(network))


def test_model_resizes_as_its_student_was_trained(here: Path, network: nn.Module, images: Pixels) -> None:
    model = load(_written(here / "large.safetensors", network, "resnet8", resize=(12, 10)))
    pixels = torch.from_numpy(images)
    with torch.no_grad():
        assert torch.equal(model(pixels), network(normalise(pixels, (0.4,), (0.3,), size=(12, 10))))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(2, 1, 9, 8, dtype=torch.uint8), r"expected \['batch', 1, 8, 8\], got \[2, 1, 9, 8\]"),
        (torch.zeros(1, 8, 8), r"expected \['batch', 1, 8, 8\], got \[1, 8, 8\]"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), "expected uint8 from 0 to 255, or floats from 0 to 1"),
    ],
)
def test_other_images_are_an_error(file: Path, given: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(file)(given)


def test_every_form_of_an_image_gives_the_same_classes(
    file: Path, here: Path, images: Pixels, command: Command
) -> None:
    """Those that `distill-worker predict` prints, the most probable first."""
    model, pixels = load(file), images[0, 0]
    picture = here / "one.png"
    Image.fromarray(pixels).save(picture)
    printed = facts_of(command("predict", file, picture, "--json"))["images"][0]["top"]
    forms: list[Any] = [
        "one.png",
        picture,
        Image.open(picture),
        pixels,
        images[0],
        torch.from_numpy(pixels),
        torch.from_numpy(images[0]).float() / 255,
    ]
    for form in forms:
        [*classes] = model.predict(form)
        assert [(one.name, one.probability) for one in classes] == [
            (one["name"], one["probability"]) for one in printed
        ]
    assert sum(one.probability for one in classes) == pytest.approx(1)
    rows = model.predict(forms, top=1)
    assert [one.name for [one] in rows] == [classes[0].name] * len(forms)
    assert [one.probability for [one] in rows] == pytest.approx([classes[0].probability] * len(forms))
    assert model.predict([]) == []


def test_pictures_become_what_the_student_takes(file: Path, here: Path) -> None:
    """In colour, transparent, of another size and on their side, as files do."""
    random = np.random.default_rng(2)
    model = load(file)
    colour = Image.fromarray(random.integers(0, 256, (20, 30, 4), np.uint8), "RGBA")
    colour.save(here / "colour.png")
    assert model.predict(colour) == model.predict("colour.png")
    photo, exif = Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)), Image.Exif()
    exif[274] = 6
    photo.save(here / "photo.tiff", exif=exif)
    assert model.predict(Image.open(here / "photo.tiff")) == model.predict("photo.tiff")
    assert model.predict(Image.open(here / "photo.tiff")) != model.predict(photo)
    assert model.predict(photo.convert("CMYK"))


def test_predict_leaves_the_modes(file: Path, images: Pixels) -> None:
    model = load(file).train()
    model.predict(images[0])
    assert model.training
    assert model.network.training


@pytest.mark.parametrize("given", [np.zeros((2, 1, 8, 8), np.uint8), 3, np.zeros((8, 8)) + 0.3])
def test_what_is_no_image_is_named(file: Path, given: Any) -> None:
    with pytest.raises(DataError, match="image 0: expected"):
        load(file).predict([given])


class Own(nn.Module):
    """A linear network of the caller's."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.last = nn.Linear(64, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.last(images.flatten(1))
        return logits


def test_student_of_a_module_needs_it_again(here: Path, images: Pixels) -> None:
    """A copy of it is loaded; the module stays as it is, and may be of a class of another name."""
    trained, again = Own(), Own()
    before = again.last.weight.clone()
    file = _written(here / "own.safetensors", trained, "given::Other")
    model = load(file, again)
    assert torch.equal(model.network.get_parameter("last.weight"), trained.last.weight)
    assert torch.equal(again.last.weight, before)
    assert model.predict(images[0])
    with pytest.raises(WeightsFileError, match=r"'given::Other' is a module that was given in Python"):
        load(file)
    with pytest.raises(WeightsFileError, match="the description does not fit the tensors"):
        load(file, Own(classes=4))


def test_code_of_a_factory_runs_only_if_it_is_trusted(here: Path, images: Pixels) -> None:
    """Or not at all, if the module is given."""
    (here / "own.py").write_text(
        "import torch\n\ndef make(num_classes, in_channels):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))\n"
    )
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    file = _written(here / "factory.safetensors", module, "own.py:make")
    with pytest.raises(WeightsFileError, match="trust-code"):
        load(file)
    (here / "code").mkdir()
    (here / "own.py").rename(here / "code" / "own.py")
    models = [load(file, "code/own.py:make", trust_code=True), load(file, module)]
    pixels = torch.from_numpy(images)
    assert torch.equal(models[0](pixels), models[1](pixels))


def test_place_without_a_student_is_named(here: Path) -> None:
    with pytest.raises(WeightsFileError, match="expected a run directory or a weights file, got neither"):
        load("nowhere")
    (here / "empty").mkdir()
    with pytest.raises(RunError, match="expected the directory of a run"):
        load("empty")
    with pytest.raises(WeightsFileError, match="expected a safetensors file"):
        load(__file__)


def test_model_is_a_module_like_any_other(file: Path, images: Pixels) -> None:
    """It is copied, saved and exported with its preprocessing."""
    model = load(file)
    pixels = torch.from_numpy(images[:4])
    assert torch.equal(copy.deepcopy(model)(pixels), model(pixels))
    torch.testing.assert_close(torch.export.export(model, (pixels,)).module()(pixels), model(pixels))
    assert isinstance(model, Model)
