"""Networks made elsewhere: torchvision's classifiers, and whatever a factory of the user's own returns.

Neither need accept every size from 8x8 up: the sizes are the network's own business.
"""

import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from torch import nn

_SEVERAL_OUTPUTS = ("googlenet", "inception_v3")


def torchvision_network(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """`torchvision:<name>`: one of torchvision's image classifiers, without weights.

    For other than 3 channels the first convolution is made anew, with torch's own initialisation.

    Raises:
        ValueError: torchvision has no such classifier, or it answers with several outputs while it trains.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"network: torchvision has no classifier {name!r}; known: {', '.join(known)}")
    if name in _SEVERAL_OUTPUTS:
        raise ValueError(f"network: torchvision's {name} gives several outputs in training; expected logits alone")
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes)
    if in_channels != 3:
        _renew_first_convolution(network, in_channels)
    return network


def factory_network(source: str, factory: str, num_classes: int, in_channels: int) -> nn.Module:
    """`<module>:<factory>` or `path/to/file.py:<factory>`: what `factory(num_classes=..., in_channels=...)` returns.

    Runs the module's code. The current directory and the folder of the file are importable meanwhile. A module is
    imported once, a file is run each time.

    Raises:
        ValueError: no such module, file or factory, a module or factory that raises anything, or one that returns no
            network.
    """
    name = f"{source}:{factory}"
    with importable(own_folders(source)):
        try:
            module = _run_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
        except ImportError as error:
            raise ValueError(f"network: {source!r} cannot be imported ({error})") from error
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise ValueError(f"network: {source!r} cannot be imported ({_raised(error)})") from error
        make = getattr(module, factory, None)
        if make is None:
            raise ValueError(f"network: {source!r} has no {factory!r}")
        if not callable(make):
            raise ValueError(f"network: expected {name!r} to be a function or class, got {type(make).__name__}")  # noqa: TRY004 - one error for every bad name
        try:
            network = make(num_classes=num_classes, in_channels=in_channels)
        except (Exception, SystemExit) as error:  # as above
            raise ValueError(
                f"network: {name!r} failed when called with num_classes={num_classes} and in_channels={in_channels} "
                f"({_raised(error)})"
            ) from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"network: expected {name!r} to return a torch.nn.Module, got {type(network).__name__}")  # noqa: TRY004 - as above
    return network


def own_folders(source: str) -> list[str]:
    """The folders that the code behind a module's name or a file `.py` is imported from before all others."""
    return [str(Path.cwd()), *([str(Path(source).resolve().parent)] if source.endswith(".py") else [])]


@contextmanager
def importable(folders: Sequence[str]) -> Iterator[None]:
    """Let modules in these folders be imported."""
    sys.path[:0] = folders
    try:
        yield
    finally:
        for folder in folders:
            with suppress(ValueError):
                sys.path.remove(folder)


def _raised(error: BaseException) -> str:
    """What the user's code raised, and where."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error}, in {place.filename}, line {place.lineno}"


def _renew_first_convolution(network: nn.Module, in_channels: int) -> None:
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    convolution.in_channels = in_channels
    shape = (convolution.out_channels, in_channels, *convolution.kernel_size)
    convolution.weight = nn.Parameter(convolution.weight.new_empty(shape))
    convolution.reset_parameters()


def _run_file(path: Path) -> ModuleType:
    # Under a name of its own, so that it neither hides an installed module nor another file of the same name.
    name = f"network_{sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ImportError(f"there is no file {path.resolve()}")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
