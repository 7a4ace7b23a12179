"""The logits in whatever a network returns, and the clear sentence where there are none."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from shared.networks import build_network
from shared.networks.outputs import check_network, logits_of
from shared.networks.taps import feature_shapes, forward_with_features

LOGITS = torch.arange(6.0).reshape(2, 3)
OTHER = torch.zeros(2, 5)


class _Pair(NamedTuple):
    aux: Tensor
    logits: Tensor


@dataclass
class _Output:
    hidden: Any
    logits: Any = None


@dataclass(slots=True)
class _Slots:
    scores: Tensor


class _AuxiliaryFirst(NamedTuple):
    aux: Tensor
    out: Tensor


class _ModelOutput(OrderedDict[str, Tensor]):
    """As in Hugging Face's transformers: a mapping whose keys are attributes too."""

    def __getattr__(self, name: str) -> Tensor:
        return self[name]


class _Net(nn.Module):
    """A linear layer whose output a test wraps."""

    def __init__(self, wrap: Callable[[Tensor], object], classes: int = 3) -> None:
        super().__init__()
        self.body, self.last, self.wrap = nn.Flatten(), nn.Linear(8 * 8, classes), wrap

    def forward(self, images: Tensor) -> object:
        return self.wrap(self.last(self.body(images)))


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS,),
        (LOGITS, OTHER),
        [LOGITS, OTHER],
        ((LOGITS, OTHER), OTHER),
        (None, LOGITS),
        {"out": LOGITS, "aux": OTHER},
        {"loss": OTHER, "logits": LOGITS},
        {"hidden": (LOGITS, OTHER)},
        _Pair(OTHER, LOGITS),
        _Output(OTHER, LOGITS),
        _Output(LOGITS),
        _Slots(LOGITS),
        {"aux": LOGITS + 1, "logits": LOGITS},
        (LOGITS, LOGITS + 1),
        _ModelOutput(loss=torch.tensor(0.0), logits=LOGITS),
        LOGITS[:, :, None, None],
        (LOGITS[:, :, None],),
    ],
    ids=lambda output: type(output).__name__,
)
def test_logits_are_those_of_the_name_or_the_first_tensor(output: object) -> None:
    assert torch.equal(logits_of(output), LOGITS)


def test_plain_logits_are_not_copied() -> None:
    assert logits_of(LOGITS) is LOGITS


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "got NoneType"),
        ((), "got tuple"),
        ({"logits": [1.0]}, "got dict"),
        ({"aux": LOGITS, "out": LOGITS, "x": OTHER}, r"got 2 of one shape \('aux', 'out'\); name one of them 'logits'"),
        (_AuxiliaryFirst(LOGITS, LOGITS), r"got 2 of one shape \('aux', 'out'\)"),
        (torch.zeros(3), r"got torch.float32 \[3\]"),
        (torch.zeros(2, 3, 4, 4), r"got torch.float32 \[2, 3, 4, 4\]"),
        (torch.zeros(2, 1, 3), r"got torch.float32 \[2, 1, 3\]"),
        (torch.zeros(2, 3, dtype=torch.int64), r"got torch.int64 \[2, 3\]"),
    ],
)
def test_output_without_logits_is_an_error(output: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"network: expected .*{message}"):
        logits_of(output)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, x), lambda x: {"logits": x}, lambda x: x[..., None, None]])
def test_forward_pass_gives_logits_and_features_of_any_network(wrap: Callable[[Tensor], object]) -> None:
    network = _Net(wrap)
    images = torch.randn(2, 1, 8, 8)
    logits, features = forward_with_features(network, images, ["last:input"])
    assert torch.equal(logits, network.last(features["last:input"]))
    assert feature_shapes(network, (1, 8, 8), ["last"]) == {"last": (3,)}


def test_check_gives_lazy_layers_their_shapes_and_leaves_the_modes() -> None:
    network = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Dropout(), nn.Flatten(), nn.LazyLinear(3))
    network[2].eval()
    check_network(network, (1, 8, 8), 3)
    assert [module.training for module in network] == [True, True, False, True, True]
    state = network.state_dict()
    assert state["4.weight"].shape == (3, 4 * 36)
    assert not state["1.running_mean"].any(), "a pass in evaluation mode leaves the statistics alone"
    network(torch.randn(2, 1, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


class _Late(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Flatten()
        self.first = nn.Linear(64, 4)
        self.last: nn.Module | None = None

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.first(self.body(images))
        if self.last is None:
            self.last = nn.Linear(hidden.shape[1], 3)
        logits: Tensor = self.last(hidden)
        return logits


class _LateBuffer(_Net):
    mask: Tensor

    def forward(self, images: Tensor) -> object:
        if not hasattr(self, "mask"):
            self.register_buffer("mask", torch.ones(3))
        return self.last(self.body(images)) * self.mask


class _ExtraState(_Net):
    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}


class _FromFirstImages(nn.Module):
    """A layer that standardises by the first batch that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.initialised: Tensor
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, values: Tensor) -> Tensor:
        if not self.initialised:
            with torch.no_grad():
                self.scale.copy_(1 / (values.std(dim=0, unbiased=False) + 1e-6))
                self.initialised.fill_(True)
        return values * self.scale


@pytest.mark.parametrize("first", [nn.Linear(64, 3), nn.LazyLinear(3)], ids=["ready", "lazy"])
def test_check_leaves_a_layer_that_initialises_itself_from_images_as_it_was(first: nn.Module) -> None:
    network = nn.Sequential(nn.Flatten(), first, _FromFirstImages())
    check_network(network, (1, 8, 8), 3)
    feature_shapes(network, (1, 8, 8), ["1"])
    state = network.state_dict()
    assert state["1.weight"].shape == (3, 64)
    assert state["2.scale"].tolist() == [1, 1, 1]
    assert not state["2.initialised"]


def _leave(_: Tensor) -> None:
    raise SystemExit("no GPU")


def _import(_: Tensor) -> None:
    raise ModuleNotFoundError("No module named 'helper'")


def _fail(_: Tensor) -> None:
    raise KeyError("the network's own fault")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (_Net(lambda x: x, classes=4), r"expected logits of shape \[1, 3\] .*got \[1, 4\].*num_classes"),
        (_Net(lambda x: x.squeeze()), r"expected logits, float \[batch, classes\].*got torch.float32 \[3\]"),
        (_Net(lambda x: x[:1]), r"expected logits of shape \[2, 3\] .*got \[1, 3\]"),
        (_Net(lambda x: x.argmax(dim=1)), r"expected logits, float .*got torch.int64"),
        (_Net(lambda _: "logits"), "got str"),
        (_Net(_fail), r"images of shape \[1, 8, 8\], got an error from it .KeyError: .*the network's own fault"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(100, 3)),
            r"images of shape \[1, 8, 8\], got an error from it .RuntimeError: .*shapes",
        ),
        (nn.Flatten(), "got one without any"),
        (_Late(), r"every parameter and buffer to exist before the first call, got 'last.bias' made or removed by"),
        (_LateBuffer(lambda x: x), r"buffer to exist before the first call, got 'mask' made or removed by that call"),
        (_ExtraState(lambda x: x), r"state_dict\(\) of tensors, got dict in '_extra_state'; keep it in a buffer"),
        (_Net(_leave), "got an error from it .SystemExit: no GPU"),
        (_Net(_import), "No module named 'helper'.*; import files of your own where the factory's module begins"),
    ],
)
def test_network_that_gives_no_logits_for_the_images_is_rejected(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=f"^network: .*{message}"):
        check_network(network, (1, 8, 8), 3)
    assert all(module.training for module in network.modules())


def test_vision_transformer_says_which_images_it_takes() -> None:
    network = build_network("torchvision:vit_b_32", num_classes=3, in_channels=1)
    with pytest.raises(
        ValueError, match=r"images of shape \[1, 8, 8\], got an error from it .AssertionError: .*Expected 224"
    ):
        check_network(network, (1, 8, 8), 3)
