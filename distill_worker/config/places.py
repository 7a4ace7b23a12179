"""Where the files of a configuration are: every path in it is absolute once it is loaded.

A relative path in a file starts at the file's folder, so a file always means the same cache, wherever the command is
started. A relative path on the command line starts at the working directory. `~`, `$NAME` and `${NAME}` are expanded.

Earlier versions started at the working directory. What they wrote there is used while the new place does not exist,
and so is what is in the folder of a link's target. Caches and run directories are also searched in the folders above
that of the file. A cache in which nothing was bought counts as absent.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from distill_worker.cache.database.engine import holds_purchases
from distill_worker.config.run_identity import RunIdentity
from distill_worker.data.selection import GRADIENTS, PIXELS, STUDENT
from distill_worker.errors import ConfigError

Document = dict[str, Any]

SETTINGS: Final = (
    "output.directory",
    "output.cache",
    "data.root",
    "data.path",
    "data.store",
    "budget.features",
    "student.network_file",
    "student.weights",
    "self_training.network_file",
    "self_training.assistant",
    "compare.directory",
    "compare.cache",
    "compare.teacher.network_file",
)
"""Every setting that is a path."""

_NO_PATHS: Final = {"budget.features": (PIXELS, GRADIENTS, STUDENT)}
"""Values of these settings that are no paths."""
_NETWORKS: Final = ("student", "self_training", "compare.teacher")
"""The sections with a `network`, which may be `path/to/file.py:factory`."""
_SEARCHED_ABOVE: Final = ("output.cache", "output.directory", "compare.cache", "compare.directory")
"""Settings whose place is searched in the folders above that of the file, too."""
_NOWHERE_ELSE: Final = ("data.store", "student.weights")
"""Settings that earlier versions had not."""
_LEVELS: Final = 3
_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


class Note(NamedTuple):
    """What a user should know about the place of a setting."""

    setting: str
    text: str
    other: Path | None = None
    """Another place, which may hold what was bought: a cache; for `output.directory`, an earlier run's folder."""


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
    folder = _folder_of(file)
    for setting, default in defaults.items():
        name, _, key = setting.partition(".")
        section = document.setdefault(name, {})
        if isinstance(section, dict):
            section.setdefault(key, str(default))
    notes: list[Note] = []
    for path in _paths(document):
        place = path.below(folder)
        earlier = dict.fromkeys(path.below(start) for start in _earlier_starts(file, folder, path.setting))
        used = [other for other in earlier if other != place and _is_used(path.setting, other)]
        place, about_it = _choice(path.setting, place, used)
        notes += about_it
        path.becomes(str(place))
    return notes


def working_directory() -> Path:
    """The working directory. Raises `ConfigError` if it was deleted."""
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError("the working directory was deleted; change to another folder") from error


def holds_run(directory: Path, identity: RunIdentity) -> bool:
    """Whether a run directory of an earlier place is this run's: by its run.json, or by its saved selections."""
    run = _json(directory / "run.json")
    if run is not None:
        return identity.difference(run.get("identity"), partial=True) is None
    stored = (_json(directory / "rounds" / "0001.json") or {}).get("of")
    if not isinstance(stored, dict):
        return False
    return identity.only(*(identity.values.keys() & stored.keys())).difference(stored, partial=True) is None


def _note_of_use(setting: str, place: Path, earlier: Path) -> str:
    """The note that an earlier place is used."""
    reason = "holds nothing that was bought" if _exists(place) else "does not exist"
    return (
        f"{setting}: {earlier} is used, where earlier versions put it, because {place} {reason}; to keep it, "
        f'write {setting} = "{earlier}"'
    )


def _folder_of(file: Path) -> Path:
    """Where the relative paths of a file start: its folder, also if it is a link to a file elsewhere."""
    if not file.is_file():
        return working_directory()
    folder = Path(os.path.normpath(working_directory() / file.parent))
    return folder if folder.exists() and folder.samefile(file.parent) else file.parent.resolve()


def _earlier_starts(file: Path, folder: Path, setting: str) -> list[Path]:
    """Where else the relative path of a setting may have started."""
    if setting in _NOWHERE_ELSE:
        return []
    folders = [folder, file.resolve().parent] if file.is_file() else [folder]
    above = [parent for start in folders for parent in start.parents[:_LEVELS]] if setting in _SEARCHED_ABOVE else ()
    return [working_directory(), *folders, *above]


def _choice(setting: str, place: Path, earlier: list[Path]) -> tuple[Path, list[Note]]:
    """The place to use, of a new one and those of `earlier` that are used, and the notes about it."""
    if not earlier:
        return place, []
    if setting == "output.directory":  # an earlier one must be this run's, which is not read yet
        return place, [] if _exists(place) else [
            Note(setting, _note_of_use(setting, place, one), one) for one in earlier
        ]
    notes = []
    if not _is_used(setting, place):
        first, *earlier = earlier
        # A weights file keeps `network` as it is written: both places stay valid.
        notes = [] if setting.endswith("network_file") else [Note(setting, _note_of_use(setting, place, first))]
        place = first
    return place, notes + [
        Note(
            setting,
            f"{setting}: {place} is used; {cache}, which earlier versions used from here, is another cache",
            cache,
        )
        for other in earlier
        if (cache := _cache_at(setting, other)) is not None and holds_purchases(cache)
    ]


def _is_used(setting: str, place: Path) -> bool:
    """Whether there is something at a place. A cache in which nothing was bought is as good as none."""
    cache = _cache_at(setting, place)
    return _exists(place) and (cache is None or not _exists(cache) or holds_purchases(cache))


def _cache_at(setting: str, place: Path) -> Path | None:
    """The cache at the place of a setting; None if it is no place of a cache."""
    if setting == "compare.directory":
        return place / "cache.sqlite"
    return place if setting.endswith(".cache") else None


def _json(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


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
        is_other = isinstance(value, str) and ("://" in value or value in _NO_PATHS.get(setting, ()))
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
