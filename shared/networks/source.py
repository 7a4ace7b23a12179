"""The source code of a factory's module, as a digest: two equal digests mean the same network code.

It covers the module and what it imports, directly or through others, from the user's own folders: the current
directory, that of a file, and what else is importable without being installed, such as packages that are installed
for editing. Installed packages are not covered, nor modules whose names the code computes.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Final, NamedTuple

from shared.networks.foreign import TUITION, described, import_module, importable, is_installed, own_folders

_DIGEST_LENGTH: Final = 16


class _Module(NamedTuple):
    name: str
    file: Path
    package: str
    """What its relative imports are relative to."""


def module_digest(source: str) -> str:
    """The first 16 hexadecimal digits of a SHA-256 over the code behind `source`, a module's name or a file `.py`.

    It depends on no file's place. The packages around a module are imported to find it; the module itself is not.

    Raises:
        ValueError: no such module or file, or one that cannot be read.
    """
    PathFinder.invalidate_caches()
    first = _Module("", Path(source), "") if source.endswith(".py") else _named(source)
    pending, digests = [first], dict[str, str]()
    while pending:
        module = pending.pop()
        if module.name not in digests:
            content = _read(source, module.file)
            digests[module.name] = sha256(content).hexdigest()
            pending += _imported(source, module, content)
    return sha256(repr(sorted(digests.items())).encode()).hexdigest()[:_DIGEST_LENGTH]


def _named(source: str) -> _Module:
    with importable(own_folders(source)):
        try:
            if package := source.rpartition(".")[0]:
                import_module(package)
            spec = importlib.util.find_spec(source)
        except (Exception, SystemExit) as error:  # the code of a package may raise anything
            raise ValueError(f"network: {source!r} cannot be imported ({described(error)})") from error
    if spec is None or not spec.has_location or spec.origin is None:
        raise ValueError(f"network: {source!r} cannot be imported (there is no file of that module)")
    return _Module(source, Path(spec.origin), spec.parent or "")


def _read(source: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"network: {source!r} cannot be imported (cannot read {file}: {error.strerror})") from error


def _imported(source: str, module: _Module, content: bytes) -> Iterator[_Module]:
    """The modules in the user's own folders that a module imports, wherever in it, and the packages around them."""
    if module.file.suffix != ".py":
        return
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"network: {source!r} cannot be imported ({module.file}: {error})") from error
    folders = [*own_folders(source), *_others_not_installed()]
    for name in [module.name, *_imported_names(tree, module.package)]:
        yield from _along(name, folders)


def _imported_names(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            within = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*within, node.module]))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield package + name.value if name.value.startswith(".") else name.value


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _along(name: str, folders: Sequence[str]) -> Iterator[_Module]:
    """The modules that an import of `name` runs: the packages from the outermost on, then the module."""
    if name.partition(".")[0] in TUITION:
        return
    places, before = list(folders), ""
    for part in name.split("."):
        full = f"{before}.{part}" if before else part
        spec = _spec(full, places) if part else None
        if spec is None:
            return
        inner = spec.submodule_search_locations
        if spec.has_location and spec.origin is not None:
            yield _Module(full, Path(spec.origin), before if inner is None else full)
        if inner is None:
            return
        places, before = list(inner), full


def _spec(name: str, places: Sequence[str]) -> ModuleSpec | None:
    """What an import of `name` would run, by the first finder that has it; None for installed code."""
    for finder in sys.meta_path:
        if finder is PathFinder:
            # By its last part alone: the full name of a namespace package would need its parents to be imported.
            spec = PathFinder.find_spec(name.rpartition(".")[2], places)
        else:
            spec = finder.find_spec(name, places if "." in name else None)
            if spec is not None and (spec.origin is None or is_installed(Path(spec.origin))):
                return None
        if spec is not None:
            return spec
    return None


def _others_not_installed() -> list[str]:
    """The other places that modules are imported from, but for the standard library and installed packages."""
    return [folder for folder in sys.path if folder and not is_installed(Path(folder))]
