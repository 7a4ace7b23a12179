"""Reads a TOML file into a `RunConfig`. Errors name the file, the key, the expected value and the one that it got."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from distill_worker.config import places
from distill_worker.config.data_sections import Data
from distill_worker.config.explanations import explained
from distill_worker.config.run_config import Output, RunConfig
from distill_worker.config.stages.automatic import filled_in
from distill_worker.config.stages.unlabelled import with_labels_off
from distill_worker.config.toml_file import parsed, read_toml
from distill_worker.errors import ConfigError

OnNote = Callable[[str], None]

COMMAND_LINE: Final = "the command line"
"""Names the source of a run without a file. There is no such file, so relative paths start at the working directory."""

DEFAULT_PLACES: Final = {
    "output.directory": Output.model_fields["directory"].default,
    "output.cache": Output.model_fields["cache"].default,
    "data.root": Data.model_fields["root"].default,
    "data.store": Data.model_fields["store"].default,
}
"""The places of a run that its file may leave out, by setting."""


def load_config(path: Path | None, overrides: Sequence[str] = (), *, on_note: OnNote = lambda _: None) -> RunConfig:
    """Read a TOML file; each override is `section.key=value` with a TOML value (bare words are strings).

    Without a file, the overrides are the whole run. `on_note` gets what the user should know about places of earlier
    versions.

    Raises:
        ConfigError: names the file, the key, the expected value and the one that it got.
    """
    document, notes = read_document(path, overrides)
    config = parse_config(document, source=COMMAND_LINE if path is None else str(path))
    return with_notes(notes, config, on_note)


def read_document(path: Path | None, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], list[places.Note]]:
    """The document of a run with its overrides and absolute paths, and the notes about these; see `load_config`.

    Raises:
        ConfigError: it is no TOML, or of a comparison; an override or a path is wrong.
    """
    document = {} if path is None else read_toml(path)
    if "compare" in document:
        raise ConfigError(f"{path}: expected the file of a run, got that of a comparison; use distill-worker compare")
    for override in overrides:
        _override(document, override)
    return document, place(document, path or Path(COMMAND_LINE), DEFAULT_PLACES)


def place(document: dict[str, Any], path: Path, defaults: Mapping[str, Path]) -> list[places.Note]:
    """Make every path of the document in the file `path` absolute; see `places.from_file`. Raises `ConfigError`."""
    try:
        return places.from_file(document, path, defaults)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def with_notes(notes: Sequence[places.Note], config: RunConfig, on_note: OnNote) -> RunConfig:
    """Call `on_note` with the notes about places that the run uses; the run with the places that they name."""
    output, caches = config.output, list[Path]()
    for setting, text, other in notes:
        if setting == "output.directory":
            if other is None or output is not config.output or not places.holds_run(other, config.identity):
                continue
            output = output.model_copy(update={"directory": other})
        elif not config.uses(setting):
            continue
        elif other is not None:
            caches.append(other)
        on_note(text)
    return config.model_copy(update={"output": output.with_other_caches(caches)})


def parse_config(document: Mapping[str, Any], *, source: str) -> RunConfig:
    """Validate a document that was read from `source`. Raises `ConfigError` as `load_config` does."""
    try:
        return RunConfig.model_validate(with_labels_off(filled_in(document)))
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{source}: {explained(error, RunConfig)}") from error


def _override(document: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set: expected section.key=value, got {override!r}")
    try:
        value = parsed(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    except ConfigError as error:
        raise ConfigError(f"--set: {key}: {error}") from error
    stated: dict[str, Any] = {parts[-1]: value}
    override_alone = stated
    for part in reversed(parts[:-1]):
        override_alone = {part: override_alone}
    try:
        places.from_command_line(override_alone)
    except ConfigError as error:
        raise ConfigError(f"--set: {error}") from error
    table = document
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set: {part!r} in {key!r} is a value, not a section")
    table.update(stated)
