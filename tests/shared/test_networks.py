"""The networks: sizes from the literature, names that weights files rely on, and the inputs they accept."""

from hashlib import sha256

import pytest
import torch

from shared.networks import build_network


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
    ],
)
def test_parameter_count_is_that_of_the_literature(name: str, parameters: int) -> None:
    """At 100 classes and 3 channels, as the distillation papers count them."""
    network = build_network(name, num_classes=100, in_channels=3)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "digest"),
    [("resnet8", "6a498125fc1011c2"), ("resnet8x4", "b22ad27ee7e96cc1"), ("wrn_16_2", "29cd24236c8638f1")],
)
def test_state_names_and_shapes_stay_those_of_the_files_in_use(name: str, digest: str) -> None:
    """A renamed or reshaped tensor makes every existing weights file unreadable."""
    state = build_network(name, num_classes=10, in_channels=1).state_dict()
    lines = "\n".join(f"{tensor} {list(values.shape)}" for tensor, values in state.items())
    assert sha256(lines.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("size", [(8, 8), (8, 11), (13, 9), (32, 32)])
@pytest.mark.parametrize("name", ["resnet8", "resnet14x4", "wrn_10_1"])
def test_network_accepts_images_from_8x8_up(name: str, size: tuple[int, int]) -> None:
    network = build_network(name, num_classes=5, in_channels=2).eval()
    with torch.no_grad():
        logits = network(torch.randn(3, 2, *size))
    assert logits.shape == (3, 5)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_1"])
def test_network_judges_each_image_alone_in_evaluation_mode(name: str) -> None:
    network = build_network(name, num_classes=5, in_channels=1).eval()
    images = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        together = network(images)
        for index in range(4):
            torch.testing.assert_close(network(images[index : index + 1])[0], together[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet8", "wrn_10_1"])
def test_network_trains_every_parameter(name: str) -> None:
    """A block that is built but never called would count, load and save, and learn nothing."""
    network = build_network(name, num_classes=5, in_channels=1)
    network(torch.randn(4, 1, 8, 8)).square().sum().backward()
    assert [parameter for parameter, values in network.named_parameters() if values.grad is None] == []


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
        ("resnet8 ", 10, 3, "no network is called 'resnet8 '; known: resnet"),
        ("Resnet8", 10, 3, "no network is called"),
        ("resnet8x2", 10, 3, "no network is called"),
        ("", 10, 3, "no network is called"),
    ],
)
def test_unknown_network_is_refused_with_what_is_known(
    name: str, num_classes: int, in_channels: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(name, num_classes=num_classes, in_channels=in_channels)
