"""Networks made elsewhere: torchvision's, and those of a factory in a module or file of the user's."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from shared.networks import build_network, runs_code, source_digest
from shared.networks.draws import draws_from, generator_states
from shared.networks.taps import feature_shapes, forward_with_features

_CODE = """
from torch import nn

class Nothing:
    pass

def make(*, num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))

class Network(nn.Linear):
    def __init__(self, num_classes, in_channels):
        super().__init__(in_channels, num_classes)

def narrow(num_classes):
    return nn.Linear(1, num_classes)

def wrong(**_):
    return Nothing()

def forgetful(**_):
    pass

def broken(**_):
    raise KeyError("the factory's own fault")

constant = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; what a test imports from it is forgotten again."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in _modules_from(tmp_path):
        del sys.modules[name]


def _modules_from(folder: Path) -> list[str]:
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    return [name for name, file in files.items() if file and Path(file).is_relative_to(folder)]


@pytest.mark.parametrize("in_channels", [1, 3, 5])
def test_torchvision_network_takes_any_channels(in_channels: int) -> None:
    """Only the first convolution and the classifier differ from torchvision's own; every parameter learns."""
    network = build_network("torchvision:resnet18", num_classes=7, in_channels=in_channels)
    own = models.resnet18(weights=None).state_dict()
    differing = {name for name, values in network.state_dict().items() if values.shape != own[name].shape}
    assert differing == {"fc.weight", "fc.bias"} | ({"conv1.weight"} if in_channels != 3 else set())
    assert network.state_dict().keys() == own.keys()
    logits = network(torch.randn(2, in_channels, 32, 32))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert [name for name, values in network.named_parameters() if values.grad is None] == []


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_first_convolution_is_found_wherever_it_is(name: str) -> None:
    network = build_network(f"torchvision:{name}", num_classes=3, in_channels=2).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 2, 64, 64)).shape == (1, 3)


def test_renewed_convolution_is_initialised_as_torch_does() -> None:
    """Uniform within 1 / sqrt(inputs of an output), and so is the bias: nothing is left of the old one or of memory."""
    network = build_network("torchvision:squeezenet1_1", num_classes=3, in_channels=1)
    convolution = network.get_submodule("features.0")
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    assert convolution.in_channels == 1
    for values in (convolution.weight, convolution.bias):
        assert values.abs().max() <= 1 / 3
        assert values.abs().mean() > 0.1


def test_torchvision_features_are_tapped_by_place() -> None:
    network = build_network("torchvision:resnet18", num_classes=7, in_channels=1).eval()
    assert feature_shapes(network, (1, 32, 32), ["layer2", "fc:input"]) == {"layer2": (128, 4, 4), "fc:input": (512,)}
    with torch.no_grad():
        logits, features = forward_with_features(network, torch.randn(2, 1, 32, 32), ["bn1", "fc:input"])
        assert network.get_submodule("fc")(features["fc:input"]).equal(logits)
    assert (features["bn1"] < 0).any(), "the ReLU behind it works in place"


def test_torchvision_network_draws_from_the_global_seed() -> None:
    def weights(seed: int) -> list[float]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = build_network("torchvision:squeezenet1_1", num_classes=3, in_channels=1)
            return [values.sum().item() for values in network.parameters()]

    assert weights(1) == weights(1) != weights(2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", r"network: torchvision has no classifier 'resnet19'; did you mean 'resnet18'\?; known: alexnet, "),
        ("fasterrcnn_resnet50_fpn", "network: torchvision has no classifier 'fasterrcnn_resnet50_fpn'"),
        ("list_models", "network: torchvision has no classifier"),
        ("googlenet", "network: torchvision's googlenet has auxiliary classifiers, .*aux_logits=False"),
        ("inception_v3", "network: torchvision's inception_v3 has auxiliary classifiers, .*aux_logits=False"),
    ],
)
def test_torchvision_network_that_is_no_plain_classifier_is_refused(name: str, message: str) -> None:
    """Detectors among them: torchvision would download weights for their trunk."""
    with pytest.raises(ValueError, match=message):
        build_network(f"torchvision:{name}", num_classes=7, in_channels=3)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the package timm, which is no dependency, with the functions that are called."""
    module = types.ModuleType("timm")

    def create_model(name: str, *, pretrained: bool, num_classes: int, in_chans: int) -> nn.Module:
        assert not pretrained, "weights would be downloaded"
        if name == "broken":
            raise RuntimeError("no such width")
        return nn.Sequential(
            nn.Conv2d(in_chans, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
        )

    names = ["convnext_tiny.fb_in1k", "convnext_tiny", "broken"]
    functions = {"is_model": names.__contains__, "list_models": lambda: names, "create_model": create_model}
    for name, value in {"__version__": "1.0.0", **functions}.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "timm", module)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", ["convnext_tiny", "convnext_tiny.fb_in1k"])
def test_timm_network_by_its_name(name: str) -> None:
    """Also with a tag, of which the weights are not fetched. It runs no code that the name picks."""
    network = build_network(f"timm:{name}", num_classes=5, in_channels=2)
    assert network(torch.zeros(2, 2, 8, 8)).shape == (2, 5)
    assert not runs_code(f"timm:{name}")
    assert source_digest(f"timm:{name}") is None


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convnext_tin", r"timm 1\.0\.0 has no classifier 'convnext_tin'; did you mean 'convnext_tiny'\?"),
        ("broken", r"timm:broken cannot be made for 5 classes and 3 channels \(RuntimeError: no such width"),
    ],
)
def test_timm_network_that_cannot_be_had_is_an_error(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(f"timm:{name}", num_classes=5, in_channels=3)


def test_missing_timm_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"timm:resnet18 needs the package timm.*pip install timm"):
        build_network("timm:resnet18", num_classes=5, in_channels=3)


def test_factory_in_a_file(here: Path) -> None:
    """By relative and by absolute path; the file may have the name of an installed module."""
    (here / "nets").mkdir()
    (here / "nets" / "torch.py").write_text(_CODE)
    for name in ("nets/torch.py:make", f"{here}/nets/torch.py:make"):
        network = build_network(name, num_classes=3, in_channels=2)
        assert network(torch.zeros(5, 2, 8, 8)).shape == (5, 3)
    assert sys.modules["torch"] is torch


def test_factory_in_a_module_of_the_current_directory(here: Path) -> None:
    (here / "own_nets").mkdir()
    (here / "own_nets" / "deep.py").write_text(_CODE)
    before = list(sys.path)
    network = build_network("own_nets.deep:make", num_classes=3, in_channels=2)
    assert network(torch.zeros(5, 2, 8, 8)).shape == (5, 3)
    assert sys.path == before


def test_factory_may_be_a_class(here: Path) -> None:
    (here / "own_class.py").write_text(_CODE)
    network = build_network("own_class:Network", num_classes=3, in_channels=2)
    assert isinstance(network, nn.Linear)
    assert (network.in_features, network.out_features) == (2, 3)


def test_file_may_import_its_neighbours_in_the_current_directory_even_late(here: Path) -> None:
    (here / "neighbour_of_late.py").write_text(_CODE)
    (here / "late.py").write_text(
        "def make(**arguments):\n    import neighbour_of_late\n    return neighbour_of_late.make(**arguments)\n"
    )
    assert build_network("late.py:make", num_classes=3, in_channels=2)(torch.zeros(1, 2, 8, 8)).shape == (1, 3)


def test_file_may_import_its_neighbours_from_wherever_one_stands(here: Path) -> None:
    folder = here / "nets"
    folder.mkdir()
    (folder / "neighbour_of_file.py").write_text(_CODE)
    (folder / "own.py").write_text("from neighbour_of_file import make\n")
    paths = list(sys.path)
    for name in ("nets/own.py:make", f"{folder}/own.py:make"):
        assert build_network(name, num_classes=3, in_channels=2)(torch.zeros(1, 2, 8, 8)).shape == (1, 3)
    assert sys.path == paths


def test_file_is_run_anew_and_a_dataclass_in_it_finds_its_module(here: Path) -> None:
    """A file changed between two experiments of one process counts as changed."""
    path = here / "changing.py"
    for width in (4, 16):
        path.write_text(
            "from __future__ import annotations\nfrom dataclasses import dataclass, KW_ONLY\nfrom torch import nn\n"
            f"@dataclass\nclass Plan:\n    _: KW_ONLY\n    width: int = {width}\n"
            "def make(num_classes, in_channels):\n    return nn.Linear(Plan().width, num_classes)\n"
        )
        network = build_network("changing.py:make", num_classes=3, in_channels=2)
        assert isinstance(network, nn.Linear)
        assert network.in_features == width


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:make", "network: 'no_such_module' cannot be imported .*No module named 'no_such_module'"),
        ("faulty.make:make", "network: 'faulty.make' cannot be imported .*not a package"),
        ("nowhere.py:make", "network: 'nowhere.py' cannot be imported .*there is no file .*nowhere.py"),
        ("folder.py:make", "network: 'folder.py' cannot be imported .*there is no file"),
        ("needy:make", "network: 'needy' cannot be imported .*No module named 'no_such_dependency'"),
        ("needy.py:make", "network: 'needy.py' cannot be imported .*No module named 'no_such_dependency'"),
        ("faulty:nothing", "network: 'faulty' has no 'nothing'"),
        ("faulty.py:nothing", "network: 'faulty.py' has no 'nothing'"),
        ("faulty:constant", "network: expected 'faulty:constant' to be a function or class, got int"),
        ("faulty:narrow", "network: 'faulty:narrow' failed when called with num_classes=3 and in_channels=2 .*keyword"),
        ("faulty:wrong", "network: expected 'faulty:wrong' to return a torch.nn.Module, got Nothing"),
        ("faulty:forgetful", "network: expected 'faulty:forgetful' to return a torch.nn.Module, got NoneType"),
    ],
)
def test_factory_that_gives_no_network_is_refused(here: Path, name: str, message: str) -> None:
    (here / "faulty.py").write_text(_CODE)
    (here / "needy.py").write_text("import no_such_dependency\n")
    (here / "folder.py").mkdir()
    paths = list(sys.path)
    with pytest.raises(ValueError, match=message):
        build_network(name, num_classes=3, in_channels=2)
    assert sys.path == paths
    if name.startswith("needy"):
        assert _modules_from(here) == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def make(**_):\n    raise KeyError('mine')", "failed when called .*KeyError: 'mine', in {file}, line 2"),
        (
            "def make(**_):\n    import sys\n    sys.exit('no')",
            "failed when called .*SystemExit: no, in {file}, line 3",
        ),
        ("from torch import nn\ndef make(**_):\n    return nn.Linear(-1, 2)", "RuntimeError: .*, in {file}, line 3"),
        ("def make(**_):\n    return other()\ndef other():\n    1 / 0", "ZeroDivisionError: .*, in {file}, line 4"),
        ("x = 1\ny = undefined\n", "cannot be imported .NameError: .*, in {file}, line 2"),
        ("def make(:\n", "cannot be imported .SyntaxError: .*own_fault.py, line 1"),
        ("raise SystemExit", "cannot be imported .SystemExit: no message, in {file}, line 1"),
    ],
)
@pytest.mark.parametrize("name", ["own_fault:make", "own_fault.py:make"])
def test_error_of_the_users_code_names_its_line(here: Path, name: str, code: str, reason: str) -> None:
    """The last line of that code, also where torch raised."""
    file = here / "own_fault.py"
    file.write_text(code)
    with pytest.raises(ValueError, match=reason.format(file=file)) as raised:
        build_network(name, num_classes=3, in_channels=2)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("statement", ["1 / 0", "raise SystemExit(3)", "def make(:"])
@pytest.mark.parametrize("ending", ["", ".py"])
def test_module_that_cannot_be_run_is_an_error(here: Path, statement: str, ending: str) -> None:
    """A division by zero, a script that ends its process, and a mistyped line."""
    (here / "no_module.py").write_text(f"import torch\n{statement}\n")
    with pytest.raises(ValueError, match=rf"network: 'no_module{ending}' cannot be imported \(\w+: .*, line \d+\)"):
        build_network(f"no_module{ending}:make", num_classes=3, in_channels=2)
    assert _modules_from(here) == []


_DRAWING = """
import random
import numpy as np
import torch
DRAWN = torch.rand(()).item(), random.random(), np.random.rand()
"""
_OF_DRAWN = """
from torch import nn

def make(num_classes, in_channels):
    network = nn.Linear(in_channels, num_classes)
    network.drawn = DRAWN
    return network
"""


def _drawn(name: str, seed: int) -> tuple[object, list[float]]:
    """What the code of a network drew when it was imported, and the weights that were drawn after."""
    with draws_from(seed):
        network = build_network(name, num_classes=3, in_channels=2)
        return network.drawn, [*network.state_dict()["weight"].flatten().tolist(), torch.rand(()).item()]


@pytest.mark.parametrize(
    "name", ["drawing.py:make", "with_helper.py:make", "drawing:make", "in_package.drawing:make", "seeding.py:make"]
)
def test_code_that_draws_when_it_is_imported_draws_the_same_and_leaves_the_run_s_seed(here: Path, name: str) -> None:
    """In a file, in its helper, in a module and in the package around it; also code that seeds the generators."""
    (here / "drawing.py").write_text(_DRAWING + _OF_DRAWN)
    (here / "drawing_helper.py").write_text(_DRAWING)
    (here / "with_helper.py").write_text("import drawing_helper\nDRAWN = drawing_helper.DRAWN\n" + _OF_DRAWN)
    (here / "in_package").mkdir()
    (here / "in_package" / "__init__.py").write_text(_DRAWING)
    (here / "in_package" / "drawing.py").write_text("from . import DRAWN\n" + _OF_DRAWN)
    (here / "seeding.py").write_text(_DRAWING + "torch.manual_seed(0)\n" + _OF_DRAWN)
    source_digest(name)
    drawn, weights = zip(*(_drawn(name, seed) for seed in (1, 2, 1)), strict=True)
    with draws_from(1):
        plain = nn.Linear(2, 3)
    assert drawn[0] == drawn[1] == drawn[2]
    assert weights[0] == weights[2] != weights[1]
    assert weights[0][:-1] == plain.weight.flatten().tolist()


def test_digest_leaves_the_generators_alone(here: Path) -> None:
    (here / "drawing_package").mkdir()
    (here / "drawing_package" / "__init__.py").write_text(_DRAWING)
    (here / "drawing_package" / "net.py").write_text(_OF_DRAWN)
    states = generator_states()
    source_digest("drawing_package.net:make")
    after = generator_states()
    assert torch.equal(after.pop("torch"), states.pop("torch"))
    assert after == states


def test_two_files_with_helpers_of_one_name_get_their_own(here: Path) -> None:
    """Also the first again, and one whose helper was edited."""
    for folder, width in (("a", 4), ("b", 8)):
        (here / folder).mkdir()
        (here / folder / "blocks_of_file.py").write_text(f"WIDTH = {width}\n")
        (here / folder / "net.py").write_text(
            "from torch import nn\nfrom blocks_of_file import WIDTH\n"
            "def make(num_classes, in_channels):\n    return nn.Linear(WIDTH, num_classes)\n"
        )
    assert [_width(f"{here}/{folder}/net.py:make") for folder in "aba"] == [4, 8, 4]
    (here / "a" / "blocks_of_file.py").write_text("WIDTH = 16  # wider\n")
    assert _width(f"{here}/a/net.py:make") == 16


def _width(name: str) -> int:
    network = build_network(name, num_classes=3, in_channels=2)
    assert isinstance(network, nn.Linear)
    return network.in_features


def test_file_that_puts_another_generator_into_numpy_changes_nothing_outside(here: Path) -> None:
    (here / "bits.py").write_text(
        "import numpy as np\nnp.random.set_bit_generator(np.random.PCG64(3))\n" + _DRAWING + _OF_DRAWN
    )
    states = generator_states()["numpy"]
    assert _drawn("bits.py:make", 1) == _drawn("bits.py:make", 1)
    assert generator_states()["numpy"] == states
