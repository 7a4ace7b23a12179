"""Networks made elsewhere: the classifiers of torchvision and timm, and whatever a factory of the user's own returns.

None need accept every size from 8x8 up: the sizes are the network's own business.
"""

import importlib
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from torch import nn

from shared.expectations import did_you_mean
from shared.networks.draws import draws_from

_INSTALLED: Final = tuple(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib", "purelib", "platlib"))
_OURS: Final = Path(__file__).parents[1]
TUITION: Final = ("shared", "teacher_service", "distill_worker")
TORCHVISION: Final = "torchvision"
"""Before the colon of a name: one of torchvision's classifiers."""
_WITH_AUXILIARY_HEADS: Final = ("googlenet", "inception_v3")
_IMPORT_SEED: Final = 0
"""What a module draws while it is imported is the same in every run, and no run's seed changes by it."""
_helpers: Final[set[str]] = set()
"""The modules that a file imported from the user's folders when it was last run."""


def torchvision_network(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """`torchvision:<name>`: one of torchvision's image classifiers, without weights.

    For other than 3 channels the first convolution is made anew, with torch's own initialisation.

    Raises:
        ValueError: torchvision has no such classifier, or it has auxiliary classifiers.
    """
    from torchvision import models

    known = _listed()
    if name not in known:
        raise ValueError(
            f"network: torchvision has no classifier {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}"
        )
    if name in _WITH_AUXILIARY_HEADS:
        raise ValueError(
            f"network: torchvision's {name} has auxiliary classifiers, which would stay untrained; return "
            f"torchvision.models.{name} with aux_logits=False from a factory of yours"
        )
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes)
    if in_channels != 3:
        _renew_first_convolution(network, in_channels)
    return network


def torchvision_classifiers() -> list[str]:
    """The names of torchvision's classifiers that can be trained here."""
    return [name for name in _listed() if name not in _WITH_AUXILIARY_HEADS]


def _listed() -> list[str]:
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def timm_network(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """`timm:<name>`: one of timm's image classifiers, without weights. timm is no dependency of this project.

    Raises:
        ValueError: timm is not installed, has no such classifier, or cannot make it for so many classes or channels.
    """
    try:
        import timm
    except ImportError as error:
        raise ValueError(
            f"network: timm:{name} needs the package timm, which cannot be imported ({error}); install it beside "
            "tuition: pip install timm"
        ) from error
    if not timm.is_model(name):
        raise ValueError(
            f"network: timm {timm.__version__} has no classifier {name!r}{did_you_mean(name, timm.list_models())}; "
            "timm.list_models() lists them all"
        )
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=in_channels)
    except Exception as error:  # the constructors of timm may raise anything
        raise ValueError(
            f"network: timm:{name} cannot be made for {num_classes} classes and {in_channels} channels "
            f"({described(error)})"
        ) from error
    return network


def factory_network(source: str, factory: str, num_classes: int, in_channels: int) -> nn.Module:
    """`<module>:<factory>` or `path/to/file.py:<factory>`: what `factory(num_classes=..., in_channels=...)` returns.

    Runs the module's code. The current directory and the folder of the file are importable meanwhile. A module is
    imported once. A file is run each time, and so is what it imports from these folders: another file may have helpers
    of the same names. Draws during an import are the same each time, and leave the global generators alone.

    Raises:
        ValueError: no such module, file or factory, code that raises, or a factory that returns no network; the message
            names the line of the code.
    """
    name = f"{source}:{factory}"
    _forget_helpers()
    before = set(sys.modules)
    with importable(own_folders(source)):
        try:
            module = _run_file(Path(source)) if source.endswith(".py") else import_module(source)
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            hint = did_you_mean(source, [TORCHVISION])
            raise ValueError(f"network: {source!r} cannot be imported ({described(error)}){hint}") from error
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
                f"({described(error)})"
            ) from error
        finally:
            if source.endswith(".py"):
                _helpers.update(_own_modules(own_folders(source)) - before - {_module_name(Path(source))})
    if not isinstance(network, nn.Module):
        raise ValueError(f"network: expected {name!r} to return a torch.nn.Module, got {type(network).__name__}")  # noqa: TRY004 - as above
    return network


def import_module(name: str) -> ModuleType:
    """Import a module, after the packages around it, each with draws of its own.

    Raises:
        BaseException: whatever their code raises.
    """
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        with draws_from(_IMPORT_SEED):
            module = importlib.import_module(".".join(parts[:length]))
    return module


def described(error: BaseException) -> str:
    """What the user's code raised, and the last line of that code on the way to it, if there is one."""
    text = " ".join(str(error).split()) or "no message"
    what = text if isinstance(error, ImportError) else f"{type(error).__name__}: {text}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    if isinstance(error, SyntaxError) or not frames:  # the text of a SyntaxError names its file and line
        return what
    return f"{what}, in {frames[-1].filename}, line {frames[-1].lineno}"


def _is_own(file: str) -> bool:
    """Whether a file is the user's: neither this project's, nor installed, nor of Python."""
    path = Path(file)
    return path.is_file() and not is_installed(path) and not path.is_relative_to(_OURS)


def is_installed(path: Path) -> bool:
    """Whether a file or folder belongs to the standard library or to an installed package."""
    in_packages = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(in_packages) or any(path.is_relative_to(place) for place in _INSTALLED)


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


def _renew_first_convolution(network: nn.Module, in_channels: int) -> None:
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    convolution.in_channels = in_channels
    shape = (convolution.out_channels, in_channels, *convolution.kernel_size)
    convolution.weight = nn.Parameter(convolution.weight.new_empty(shape))
    convolution.reset_parameters()


def _run_file(path: Path) -> ModuleType:
    name = _module_name(path)
    spec = spec_from_file_location(name, path, loader=_FromSource(name, str(path.absolute())))
    if not path.is_file() or spec is None or spec.loader is None:
        raise ImportError(f"there is no file {path.resolve()}")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        with draws_from(_IMPORT_SEED):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class _FromSource(SourceFileLoader):
    """Compiles a file at each import. Stored bytecode may be that of an earlier file of the same size and second."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the interface of a loader
        return self.source_to_code(self.get_data(self.path), self.path)


def _module_name(path: Path) -> str:
    """A name of the file's own, so that it neither hides an installed module nor another file of the same name."""
    return f"network_{sha256(str(path.resolve()).encode()).hexdigest()[:16]}"


def _forget_helpers() -> None:
    for name in _helpers:
        sys.modules.pop(name, None)
    _helpers.clear()
    importlib.invalidate_caches()


def _own_modules(folders: Sequence[str]) -> set[str]:
    """The names of the user's modules that were imported from these folders, or from folders in them."""
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return {
        name
        for name, file in files.items()
        if file and name.partition(".")[0] not in TUITION and _is_own(file)
        if any(Path(file).is_relative_to(folder) for folder in folders)
    }
