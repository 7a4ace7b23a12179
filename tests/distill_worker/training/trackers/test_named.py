"""Trackers of other packages, by their entry points."""

import sys
from pathlib import Path

import pytest

from distill_worker.errors import ConfigError
from distill_worker.training.trackers.named import GROUP, tracker_named

_CODE = """
class Tracker:
    def begin(self, run): pass
    def log(self, step, values): pass
    def end(self, result): pass
class Unusable:
    def __init__(self): raise RuntimeError("its address is wrong")
"""


def install(folder: Path, package: str, *points: str, code: str = _CODE) -> None:
    """Lay a package with these entry points, as an installer would; `folder` is to be on the path."""
    (folder / f"{package}.py").write_text(code)
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *points]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_tracker_of_another_package_is_made(site: Path) -> None:
    install(site, "package_of_a_tracker", "mine = package_of_a_tracker:Tracker")
    assert type(tracker_named("mine")).__module__ == "package_of_a_tracker"


def test_unknown_name_is_an_error_that_names_the_known_ones(site: Path) -> None:
    install(site, "package_with_a_name", "mine = package_with_a_name:Tracker")
    with pytest.raises(ConfigError, match=r"output\.trackers: expected .*mine.*mlflow.*wandb.* got 'mlfow'"):
        tracker_named("mlfow")


def test_name_of_two_packages_is_an_error_that_names_both(site: Path) -> None:
    install(site, "first_package", "same = first_package:Tracker")
    install(site, "second_package", "same = second_package:Tracker")
    with pytest.raises(ConfigError, match="'same', got those of first_package, second_package; uninstall one"):
        tracker_named("same")


def test_absent_package_is_an_error_that_says_what_to_install(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of our own trackers: the extra."""
    install(site, "incomplete_package", "theirs = incomplete_package:Tracker", code="import no_such_package")
    with pytest.raises(ConfigError, match="theirs: No module named 'no_such_package'; install what incomplete_package"):
        tracker_named("theirs")
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"distill_worker.training.trackers.{name}", raising=False)
        with pytest.raises(ConfigError, match=rf"install the extra: pip install 'tuition\[{name}\]'"):
            tracker_named(name)


def test_tracker_that_cannot_be_used_is_an_error_with_its_reason(site: Path) -> None:
    install(site, "unusable_package", "unusable = unusable_package:Unusable")
    with pytest.raises(ConfigError, match=r"output\.trackers: unusable: its address is wrong"):
        tracker_named("unusable")
