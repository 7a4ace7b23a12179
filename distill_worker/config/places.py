"""Where the files of a configuration are: every path in it is absolute once it is loaded.

A relative path in a file starts at the file's folder, so a file always means the same cache, wherever the command is
started. A relative path on the command line starts at the working directory. `~`, `$NAME` and `${NAME}` are expanded.

Earlier versions started at the working directory. What they wrote there is used while the new place does not exist.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from distill_worker.errors import ConfigError

Document = dict[str, Any]

SETTINGS: Final = (
    "output.directory",
    "output.cache",
    "data.root",
    "data.path",
    "budget.features",
    "student.network_file",
    "compare.directory",
    "compare.cache",
    "compare.teacher.network_file",
)
"""Every setting that is a path."""

_NETWORKS: Final = ("student", "compare.teacher")
"""The sections with a `network`, which may be `path/to/file.py:factory`."""
_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


class Note(NamedTuple):
    """What a user should know about the place of a setting."""

    setting: str
    text: str


class _Stated(NamedTuple):
    """A path in a document."""

    setting: str
    section: Document
    value: str | Path
    """Text as it was written, or a place that the command line states."""

    def becomes(self, place: str | Path) -> None:
        self.section[self.setting.rpartition(".")[2]] = place

    def below(self, folder: Path) -> Path:
        """The place, if a relative path starts at `folder`. Raises `ConfigError`."""
        if isinstance(self.value, Path):
            return self.value
        try:
            return (folder / expanded(self.value)).resolve()
        except ConfigError as error:
            raise ConfigError(f"{self.setting}: {error}") from error
        except (OSError, RuntimeError) as error:
            raise ConfigError(f"{self.setting}: expected a path, got {self.value!r} ({error})") from error


def expanded(text: str) -> Path:
    """A path with `~` and variables expanded.

    Raises:
        ConfigError: a variable or a home folder that does not exist.
    """
    path = _VARIABLE.sub(lambda match: _value(match[1] or match[2], text), text)
    if not path or "\0" in path:
        raise ConfigError(f"expected a path, got {text!r}")
    try:
        return Path(path).expanduser() if path.startswith("~") else Path(path)
    except RuntimeError as error:
        raise ConfigError(
            f"expected ~ or the name of a user after it, got {text!r}; write the folder in full"
        ) from error


def from_command_line(document: Document) -> None:
    """Make the paths of a document absolute that the command line states. Raises `ConfigError`."""
    for path in _paths(document):
        path.becomes(path.below(working_directory()))


def from_file(document: Document, file: Path, defaults: Mapping[str, Path]) -> list[Note]:
    """Make all other paths of a document absolute, which `file` states.

    Args:
        document: changed in place.
        file: the path of the document.
        defaults: paths of settings that the document may leave out, by setting.

    Returns:
        What the user should know about places of earlier versions.

    Raises:
        ConfigError: a path cannot be expanded.
    """
    folder = file.resolve().parent if file.is_file() else working_directory()
    for setting, default in defaults.items():
        name, _, key = setting.partition(".")
        section = document.setdefault(name, {})
        if isinstance(section, dict):
            section.setdefault(key, str(default))
    notes: list[Note] = []
    for path in _paths(document):
        place, earlier = path.below(folder), path.below(working_directory())
        if earlier != place and _exists(earlier):
            place, note = _choice(path.setting, place, earlier)
            notes += [Note(path.setting, note)] if note else []
        path.becomes(str(place))
    return notes


def working_directory() -> Path:
    """The working directory. Raises `ConfigError` if it was deleted."""
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError("the working directory was deleted; change to another folder") from error


def _choice(setting: str, place: Path, earlier: Path) -> tuple[Path, str]:
    """The place to use of two, of which `earlier` exists, and the note about it; empty for none."""
    if not _exists(place):
        if setting.endswith("network_file"):  # a weights file keeps `network` as it is written: both places stay valid
            return earlier, ""
        return earlier, (
            f"{setting}: {earlier} is used, where earlier versions put it, because {place} does not exist; to keep it, "
            f'write {setting} = "{earlier}"'
        )
    if setting.endswith(".cache"):
        return place, f"{setting}: {place} is used; {earlier}, which earlier versions used from here, is another cache"
    return place, ""


def _paths(document: Document) -> Iterator[_Stated]:
    """Every path in a document, and the files of its networks."""
    for name in _NETWORKS:
        section = _section(document, name)
        source, separator, _ = str(section.get("network", "")).rpartition(":")
        if separator and source.endswith(".py"):
            section.setdefault("network_file", source)
    for setting in SETTINGS:
        name, _, key = setting.rpartition(".")
        section = _section(document, name)
        value = section.get(key)
        is_other = isinstance(value, str) and ("://" in value or (setting, value) == ("budget.features", "pixels"))
        if isinstance(value, str | Path) and not is_other:
            yield _Stated(setting, section, value)


def _section(document: Document, name: str) -> Document:
    section: Any = document
    for part in name.split("."):
        section = section.get(part) if isinstance(section, dict) else None
    return section if isinstance(section, dict) else {}


def _value(name: str, text: str) -> str:
    if value := os.environ.get(name):
        return value
    raise ConfigError(f"expected the environment variable {name}, got none or an empty one in {text!r}; set it")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
