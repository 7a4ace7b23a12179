"""From a TOML file to a `RunConfig`, with errors that name the file, the key, what was expected and what came."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError
from distill_worker.methods import METHODS


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a TOML file; each override is `section.key=value` with a TOML value (bare words are strings).

    Raises:
        ConfigError: names the file, the key, what was expected and what came.
    """
    document = read_toml(path)
    for override in overrides:
        _override(document, override)
    return parse_config(document, source=str(path))


def parse_config(document: Mapping[str, Any], *, source: str) -> RunConfig:
    """Check a document that was read from `source`; raises `ConfigError` as `load_config` does."""
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{source}: {explained(error, RunConfig)}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The document in a TOML file. Raises `ConfigError`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the configuration ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: expected TOML, got a syntax error ({error})") from error


def explained(error: ValidationError, document: type[BaseModel], *, within: str = "") -> str:
    """Every problem of a document in one line: the key, what was expected, what came."""
    return "; ".join(_explain(problem, document, within) for problem in error.errors(include_url=False))


def _override(document: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set: expected section.key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    table = document
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set: {part!r} in {key!r} is a value, not a section")
    table[parts[-1]] = value


def _explain(problem: Any, document: type[BaseModel], within: str) -> str:
    place = [part for part in problem["loc"] if part not in METHODS]  # a method's name is no key of the file
    place = [within, *place] if within else place
    where = ".".join(str(part) for part in place) or "document"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key; known there: {', '.join(_section(document, problem['loc'][:-1]).model_fields)}"
    if problem["type"] == "missing":
        return f"{where}: required, but absent"
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        given = f", got {problem['input']!r}" if "got " not in message else ""
        return f"{where}: {message}{given}" if place else f"{message}{given}"
    return f"{where}: {problem['msg']}, got {problem['input']!r}"


def _section(document: type[BaseModel], place: Sequence[str | int]) -> type[BaseModel]:
    """The section at a place of the document; the place of a method holds its name."""
    section = document
    for part in place:
        if part in METHODS:
            section = METHODS[str(part)]
        elif part in section.model_fields:
            annotation = section.model_fields[str(part)].annotation
            models = [kind for kind in (annotation, *get_args(annotation)) if _is_model(kind)]
            section = models[0] if len(models) == 1 else section
    return section


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
