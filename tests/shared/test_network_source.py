"""The digest of a network's code: it changes with the code, wherever that lies, and with nothing else."""

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from shared.networks import source_digest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; the packages that a test imports from it are forgotten again."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def _write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.mark.parametrize("name", ["resnet8", "torchvision:resnet18", "no such network"])
def test_network_without_code_of_its_own_has_no_digest(name: str) -> None:
    assert source_digest(name) is None


@pytest.mark.parametrize("name", ["own_digest.py:make", "own_digest:make"])
def test_digest_changes_with_the_file_and_comes_back_with_it(here: Path, name: str) -> None:
    _write(here, own_digest="def make(): ...")
    first = source_digest(name)
    _write(here, own_digest="def make(): return 1")
    second = source_digest(name)
    _write(here, own_digest="def make(): ...")
    assert source_digest(name) == first != second


def test_digest_does_not_run_the_code(here: Path) -> None:
    _write(here, fatal_digest="raise SystemExit")
    assert source_digest("fatal_digest.py:make") is not None
    assert source_digest("fatal_digest:make") is not None


def test_digest_does_not_depend_on_where_the_files_are(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for folder in (here / "a", here / "deeper" / "b"):
        _write(folder, network="import neighbour", neighbour="x = 1")
        monkeypatch.chdir(folder)
        digests |= {source_digest("network.py:make"), source_digest(f"{folder}/network.py:make")}
        monkeypatch.chdir(here)
        digests.add(source_digest(f"{folder}/network.py:make"))
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("name", "statement", "edited"),
    [
        ("net.py:make", "import blocks", "blocks"),
        ("net.py:make", "def make():\n    from blocks import Block", "blocks"),
        ("net.py:make", "from middle import block", "blocks"),
        ("net.py:make", "import parts.deep.layer", "parts__in__deep__in__layer"),
        ("net.py:make", "from parts.deep import layer", "parts__in__deep__in__layer"),
        ("net.py:make", "import packed.inner", "packed__in____init__"),
        ("net.py:make", "import importlib\nblock = importlib.import_module('blocks')", "blocks"),
        ("net.py:make", "from importlib import import_module\nx = import_module('parts.deep.layer')",
         "parts__in__deep__in__layer"),
        ("packed.inner:make", "", "packed__in____init__"),
        ("packed.inner:make", "", "packed__in__sibling"),
        ("packed:make", "", "packed__in__sibling"),
        ("parts.deep.layer:make", "", "parts__in__deep__in__layer"),
    ],
)  # fmt: skip
def test_digest_covers_what_the_code_imports_from_the_user_s_own_files(
    here: Path, name: str, statement: str, edited: str
) -> None:
    """Through other modules, in functions, in packages with and without `__init__.py`, and by relative imports."""
    _write(
        here,
        net=statement,
        middle="from blocks import *",
        blocks="import torch, net",
        parts__in__deep__in__layer="x = 1",
        packed__in____init__="from . import inner",
        packed__in__inner="from .sibling import x\ndef make():\n    from ..nowhere import y",
        packed__in__sibling="x = 1",
        bystander="x = 1",
    )
    before = source_digest(name)
    _write(here, bystander="x = 2")
    assert source_digest(name) == before
    path = here / f"{edited.replace('__in__', '/')}.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert source_digest(name) != before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere_digest.py:make", "network: 'nowhere_digest.py' cannot be imported .*No such file"),
        ("no_such_digest:make", "network: 'no_such_digest' cannot be imported .*no file of that module"),
        ("no_such_digest.deep:make", "network: 'no_such_digest.deep' cannot be imported .*No module named"),
        ("garbled.py:make", r"network: 'garbled.py' cannot be imported .*garbled\.py"),
        ("raising.net:make", r"network: 'raising.net' cannot be imported .RuntimeError: no licence, in .*, line 1"),
        ("leaving.net:make", r"network: 'leaving.net' cannot be imported .SystemExit: no licence, in .*, line 1"),
    ],
)
def test_code_that_cannot_be_read_is_an_error_that_names_it(here: Path, name: str, message: str) -> None:
    _write(here, garbled="def make(:", raising__in____init__="raise RuntimeError('no licence')", raising__in__net="")
    _write(here, leaving__in____init__="raise SystemExit('no licence')", leaving__in__net="")
    with pytest.raises(ValueError, match=message):
        source_digest(name)


class _EditableFinder:
    """As of a package installed for editing: its folder is on no path."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._folder / "__init__.py")


@pytest.mark.parametrize("name", ["editable_package.net:make", "net.py:make"])
def test_digest_covers_packages_that_are_installed_for_editing(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    elsewhere = here / "elsewhere" / "editable_package"
    _write(elsewhere, __init__="", net="from editable_package.blocks import act", blocks="act = 1")
    _write(here, net="from editable_package import net")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, _EditableFinder("editable_package", elsewhere)])
    before = source_digest(name)
    _write(elsewhere, blocks="act = 2")
    assert source_digest(name) != before


def test_digest_does_not_cover_what_a_finder_has_among_installed_packages(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = here / "site-packages" / "installed_package"
    _write(installed, __init__="x = 1")
    _write(here, net="import installed_package")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, _EditableFinder("installed_package", installed)])
    before = source_digest("net.py:make")
    _write(installed, __init__="x = 2")
    assert source_digest("net.py:make") == before
