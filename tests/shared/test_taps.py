"""Feature taps give what a layer handled in that forward pass, and leave no trace behind."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from shared.networks import build_network
from shared.networks.taps import feature_shapes, forward_with_features, named_taps

_FAMILIES = ["resnet8", "wrn_10_1", "vgg8", "mobilenetv2", "shufflenetv1", "shufflenetv2"]


class _Small(nn.Module):
    """First 1 x 1 convolution, ReLU in place, then the same linear layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(inplace=True))
        self.twice = nn.Linear(2, 2)
        self.pair = _Pair()
        self.unused = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.body(images).mean(dim=(2, 3))
        first, second = self.pair(pooled, pooled)
        logits: Tensor = self.twice(self.twice(first + second))
        return logits


class _Pair(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return first, second


def _hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


@pytest.mark.parametrize("name", _FAMILIES)
def test_named_taps_are_the_stages_and_the_pooled_features(name: str) -> None:
    """In the order of the forward pass, ever smaller and wider, the last being what the classifier multiplies."""
    network = build_network(name, num_classes=5, in_channels=1)
    shapes = feature_shapes(network, (1, 32, 32))
    *stages, last = shapes
    assert stages == [f"stage{index + 1}" for index in range(len(stages))]
    assert len(stages) >= 3
    assert last == "pooled"
    assert list(shapes) == list(named_taps(network))
    channels = [shapes[stage][0] for stage in stages]
    sizes = [shapes[stage][1:] for stage in stages]
    assert channels == sorted(channels)
    assert sizes == sorted(sizes, reverse=True)
    classifier = network.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    assert shapes["pooled"] == (classifier.in_features,)


@pytest.mark.parametrize("name", _FAMILIES)
def test_pooled_features_and_classifier_give_the_logits(name: str) -> None:
    network = build_network(name, num_classes=5, in_channels=1).eval()
    images = torch.randn(2, 1, 12, 12)
    with torch.no_grad():
        logits, features = forward_with_features(network, images, ["pooled"])
        assert logits.equal(network(images))
        assert network.get_submodule("classifier")(features["pooled"]).equal(logits)


def test_features_are_those_of_a_hook_set_by_hand() -> None:
    network = build_network("wrn_10_1", num_classes=5, in_channels=1).eval()
    images = torch.randn(2, 1, 8, 8)
    by_hand: dict[str, Tensor] = {}
    with torch.no_grad():
        network.get_submodule("blocks.1").register_forward_hook(
            lambda _, __, output: by_hand.update(stage2=output.clone())
        )
        network.get_submodule("norm").register_forward_hook(
            lambda _, inputs, output: by_hand.update({"norm": output.clone(), "norm:input": inputs[0].clone()})
        )
        network(images)
        _, features = forward_with_features(network, images, ["norm:input", "stage2", "norm", "blocks.1"])
    assert list(features) == ["norm:input", "stage2", "norm", "blocks.1"]
    assert all(features[layer].equal(values) for layer, values in by_hand.items())
    assert features["blocks.1"].equal(features["stage2"])
    assert len(by_hand) == 3


def test_places_serve_where_a_network_names_no_taps() -> None:
    network, images = _Small().eval(), torch.randn(3, 1, 4, 4)
    assert named_taps(network) == {}
    _, features = forward_with_features(network, images, ["body.0", "body.1:input", "body"])
    convolution = network.get_submodule("body.0")
    with torch.no_grad():
        expected = convolution(images)
    torch.testing.assert_close(features["body"], relu(expected))
    for layer in ("body.0", "body.1:input"):
        torch.testing.assert_close(features[layer], expected, msg="what follows works in place, on the network's own")
    assert (expected < 0).any()


def test_taps_that_are_no_mapping_are_another_attribute_of_that_name() -> None:
    network = _Small()
    network.register_buffer("taps", torch.zeros(3))
    assert named_taps(network) == {}


def test_gradients_flow_through_the_features() -> None:
    network = build_network("resnet8", num_classes=5, in_channels=1)
    _, features = forward_with_features(network, torch.randn(2, 1, 8, 8), ["stage1"])
    torch.autograd.backward([features["stage1"].square().sum()])
    trained = {name.split(".")[0] for name, values in network.named_parameters() if values.grad is not None}
    assert trained == {"conv", "norm", "stages"}
    assert network.get_parameter("stages.1.0.conv1.weight").grad is None


def test_a_layer_named_twice_is_given_once() -> None:
    network = build_network("resnet8", num_classes=5, in_channels=1).eval()
    _, features = forward_with_features(network, torch.randn(2, 1, 8, 8), ["pooled", "pooled"])
    assert list(features) == ["pooled"]


def test_no_layers_is_a_plain_forward_pass() -> None:
    network = build_network("resnet8", num_classes=5, in_channels=1).eval()
    images = torch.randn(2, 1, 8, 8)
    logits, features = forward_with_features(network, images, [])
    assert features == {}
    assert logits.equal(network(images))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("stage4", "layer: the network has no layer 'stage4'; known: body, twice, pair, unused, or any module's path"),
        ("body.2", "no layer 'body.2'"),
        ("body.0.weight", "no layer 'body.0.weight'"),
        ("body.0:output", "no layer 'body.0:output'"),
        ("", "no layer ''"),
        (":input", "no layer ':input'"),
        ("twice", "'twice' does not handle exactly one tensor, once"),
        ("twice:input", "'twice:input' does not handle exactly one tensor, once"),
        ("pair", "'pair' does not handle exactly one tensor, once"),
        ("pair:input", "'pair:input' does not handle exactly one tensor, once"),
        ("unused", "'unused' takes no part in the forward pass"),
    ],
)
def test_a_layer_that_is_not_one_tensor_is_refused_and_no_hook_stays(layer: str, message: str) -> None:
    network = _Small()
    with pytest.raises(ValueError, match=message):
        forward_with_features(network, torch.zeros(1, 1, 2, 2), ["body", layer])
    assert _hooks(network) == 0


def test_an_unknown_layer_is_refused_with_the_named_taps() -> None:
    network = build_network("resnet8", num_classes=5, in_channels=1)
    with pytest.raises(ValueError, match="known: stage1, stage2, stage3, pooled, or"):
        forward_with_features(network, torch.zeros(2, 1, 8, 8), ["layer1"])


def test_no_hook_stays_whether_the_forward_pass_ends_well_or_not() -> None:
    network = build_network("resnet8", num_classes=5, in_channels=1).eval()
    forward_with_features(network, torch.zeros(1, 1, 8, 8), ["stage1", "pooled"])
    assert _hooks(network) == 0
    with pytest.raises(RuntimeError, match="expected input"):
        forward_with_features(network, torch.zeros(1, 3, 8, 8), ["stage1", "pooled"])
    assert _hooks(network) == 0


def test_feature_shapes_are_those_of_one_sample() -> None:
    """By hand: 8x8, halved twice, behind 16, 32 and 64 channels."""
    network = build_network("resnet8", num_classes=5, in_channels=2)
    assert feature_shapes(network, (2, 8, 8)) == {
        "stage1": (16, 8, 8),
        "stage2": (32, 4, 4),
        "stage3": (64, 2, 2),
        "pooled": (64,),
    }
    assert feature_shapes(network, (2, 9, 12), ["classifier", "stage2"]) == {"classifier": (5,), "stage2": (32, 5, 6)}
    with pytest.raises(ValueError, match="no layer 'stage9'"):
        feature_shapes(network, (2, 8, 8), ["stage9"])


def test_feature_shapes_leave_modes_and_statistics_alone() -> None:
    """Also where a part is frozen, and also when the layer is refused."""
    network = build_network("resnet8", num_classes=5, in_channels=1).train()
    network.get_submodule("stages.0").eval()
    modes = {path: module.training for path, module in network.named_modules()}
    state = {name: values.clone() for name, values in network.state_dict().items()}
    feature_shapes(network, (1, 8, 8))
    with pytest.raises(ValueError, match="no layer"):
        feature_shapes(network, (1, 8, 8), ["nothing"])
    assert {path: module.training for path, module in network.named_modules()} == modes
    assert len(set(modes.values())) == 2
    assert all(values.equal(state[name]) for name, values in network.state_dict().items())
