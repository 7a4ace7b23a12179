"""The networks: sizes from the literature, names that weights files rely on, and the inputs they accept."""

import math
from hashlib import sha256

import pytest
import torch
from torch import nn

from shared.networks import build_network, runs_code

_SMALL = ["resnet8", "resnet14x4", "wrn_10_1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2"]
"""One of each family."""


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet8", 83_892),
        ("resnet20", 278_324),
        ("resnet32", 472_756),
        ("resnet56", 861_620),
        ("resnet110", 1_736_564),
        ("resnet8x4", 1_233_540),
        ("resnet32x4", 7_433_860),
        ("wrn_16_1", 180_916),
        ("wrn_16_2", 703_284),
        ("wrn_40_1", 569_780),
        ("wrn_40_2", 2_255_156),
        ("vgg8", 3_965_028),
        ("vgg13", 9_462_180),
        ("vgg19", 20_086_692),
        ("mobilenetv2", 812_836),
        ("shufflenetv1", 949_258),
        ("shufflenetv2", 1_355_528),
    ],
)
def test_parameter_count_is_that_of_the_literature(name: str, parameters: int) -> None:
    """At 100 classes and 3 channels, as the distillation papers count them."""
    network = build_network(name, num_classes=100, in_channels=3)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("resnet8", "6a498125fc1011c2"),
        ("resnet8x4", "b22ad27ee7e96cc1"),
        ("wrn_16_2", "29cd24236c8638f1"),
        ("vgg8", "2c18d49eee8cdeee"),
        ("vgg13", "1b8d229bb52ba22c"),
        ("mobilenetv2", "c4a12acd3b3201e2"),
        ("shufflenetv1", "44b875caecdc46c9"),
        ("shufflenetv2", "1beb3c92ca615b76"),
    ],
)
def test_state_names_and_shapes_stay_those_of_the_files_in_use(name: str, digest: str) -> None:
    """A renamed or reshaped tensor makes every existing weights file unreadable."""
    state = build_network(name, num_classes=10, in_channels=1).state_dict()
    lines = "\n".join(f"{tensor} {list(values.shape)}" for tensor, values in state.items())
    assert sha256(lines.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("training", [False, True], ids=["evaluating", "training"])
@pytest.mark.parametrize("size", [(8, 8), (8, 11), (13, 9), (28, 28), (32, 32)])
@pytest.mark.parametrize("name", _SMALL)
def test_network_accepts_images_from_8x8_up(name: str, size: tuple[int, int], training: bool) -> None:
    """Two images are the fewest that batch normalisation can learn from where an 8x8 image has shrunk to one pixel."""
    network = build_network(name, num_classes=5, in_channels=2).train(training)
    with torch.no_grad():
        logits = network(torch.randn(2, 2, *size))
    assert logits.shape == (2, 5)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", _SMALL)
def test_network_judges_each_image_alone_in_evaluation_mode(name: str) -> None:
    network = build_network(name, num_classes=5, in_channels=1).eval()
    images = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        together = network(images)
        for index in range(4):
            torch.testing.assert_close(network(images[index : index + 1])[0], together[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", _SMALL)
def test_network_trains_every_parameter(name: str) -> None:
    """A block that is built but never called would count, load and save, and learn nothing."""
    network = build_network(name, num_classes=5, in_channels=1)
    network(torch.randn(4, 1, 8, 8)).square().sum().backward()
    assert [parameter for parameter, values in network.named_parameters() if values.grad is None] == []


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_1", "vgg8", "mobilenetv2"])
def test_convolutions_begin_with_he_initialisation(name: str) -> None:
    """Variance 2 / (output channels x kernel area), no bias: the signal going back keeps its size through a ReLU."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(name, num_classes=10, in_channels=3)
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            variance = module.weight.square().mean().item() * module.out_channels * height * width
            assert abs(variance - 2) < 6 * 2 * math.sqrt(2 / module.weight.numel()), path
            assert module.bias is None or not module.bias.any(), path


@pytest.mark.parametrize("name", ["vgg8", "mobilenetv2"])
def test_classifier_of_wide_features_begins_small(name: str) -> None:
    classifier = build_network(name, num_classes=100, in_channels=3).get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    assert 0.0095 < classifier.weight.std() < 0.0105
    assert not classifier.bias.any()


def test_building_draws_from_the_global_seed() -> None:
    def first_weight(seed: int) -> list[float]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            values: list[float] = (
                next(build_network("resnet8", num_classes=2, in_channels=1).parameters()).view(-1).tolist()
            )
            return values

    assert first_weight(1) == first_weight(1) != first_weight(2)


@pytest.mark.parametrize(
    ("name", "num_classes", "in_channels", "message"),
    [
        ("resnet9", 10, 3, r"depth 6 n \+ 2"),
        ("resnet2", 10, 3, r"depth 6 n \+ 2"),
        ("resnet32x4", 1, 3, "num_classes: expected at least 2, got 1"),
        ("resnet8", 10, 0, "in_channels: expected at least 1, got 0"),
        ("wrn_17_2", 10, 3, r"depth 6 n \+ 4"),
        ("wrn_4_2", 10, 3, r"depth 6 n \+ 4"),
        ("wrn_16_0", 10, 3, "width 1 or more"),
        ("resnet8 ", 10, 3, r"no network is called 'resnet8 '; did you mean 'resnet8'\?; known: resnet"),
        ("Resnet8", 10, 3, "no network is called"),
        ("resnet8x2", 10, 3, "no network is called"),
        ("vgg9", 10, 3, "vgg has depth 8, 11, 13, 16 or 19, got 9"),
        ("vgg", 10, 3, "no network is called"),
        ("mobilenetv2_6_0.5", 10, 3, "no network is called"),
        ("shufflenetv3", 10, 3, "no network is called"),
        (":make", 10, 3, "no network is called"),
        ("nets:", 10, 3, "no network is called"),
        (".nets:make", 10, 3, "no network is called"),
        ("nets:make:more", 10, 3, "no network is called"),
        ("nets.txt/x:make", 10, 3, "no network is called"),
        ("nets:make\n", 10, 3, "no network is called"),
        ("torchvision:resnet-18", 10, 3, "no network is called"),
        ("", 10, 3, "no network is called"),
    ],
)
def test_unknown_network_is_refused_with_what_is_known(
    name: str, num_classes: int, in_channels: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(name, num_classes=num_classes, in_channels=in_channels)


@pytest.mark.parametrize("name", ["resnet8", "mobilenetv2", "torchvision:resnet18", "torchvision:nothing", "nothing"])
def test_no_code_is_run_for_names_of_our_own_or_torchvisions(name: str) -> None:
    assert not runs_code(name)


@pytest.mark.parametrize(
    "name", ["nets:make", "nets.deep:make", "a/b.py:make", "./nets.py:make", "torchvision.models:x", "torchvision.py:x"]
)
def test_a_factory_is_code(name: str) -> None:
    assert runs_code(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ResNet-20", "resnet20"),
        ("mobilenet_v2", "mobilenetv2"),
        ("wrn-16-2", "wrn_16_2"),
        ("torchvision:resnet81", "resnet18"),
    ],
)
def test_network_that_was_meant_is_named(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        build_network(name, num_classes=3, in_channels=1)
