"""Reads a TOML file into a `RunConfig`. Errors name the file, the key, the expected value and the one that it got."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from distill_worker.config import places
from distill_worker.config.data_sections import Data
from distill_worker.config.run_config import Output, RunConfig
from distill_worker.errors import ConfigError

OnNote = Callable[[str], None]

DEFAULT_PLACES: Final = {
    "output.directory": Output.model_fields["directory"].default,
    "output.cache": Output.model_fields["cache"].default,
    "data.root": Data.model_fields["root"].default,
}
"""The places of a run that its file may leave out, by setting."""


def load_config(path: Path, overrides: Sequence[str] = (), *, on_note: OnNote = lambda _: None) -> RunConfig:
    """Read a TOML file; each override is `section.key=value` with a TOML value (bare words are strings).

    `on_note` gets what the user should know about places of earlier versions.

    Raises:
        ConfigError: names the file, the key, the expected value and the one that it got.
    """
    document = read_toml(path)
    for override in overrides:
        _override(document, override)
    notes = place(document, path, DEFAULT_PLACES)
    config = parse_config(document, source=str(path))
    pass_on(notes, config, on_note)
    return config


def place(document: dict[str, Any], path: Path, defaults: Mapping[str, Path]) -> list[places.Note]:
    """Make every path of the document in the file `path` absolute; see `places.from_file`. Raises `ConfigError`."""
    try:
        return places.from_file(document, path, defaults)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def pass_on(notes: Sequence[places.Note], config: RunConfig, on_note: OnNote) -> None:
    """Call `on_note` with the notes about places that the run uses."""
    for note in notes:
        if config.uses(note.setting):
            on_note(note.text)


def parse_config(document: Mapping[str, Any], *, source: str) -> RunConfig:
    """Validate a document that was read from `source`. Raises `ConfigError` as `load_config` does."""
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
    """All problems of a document in one line: for each the key, the expected value and the one that it got."""
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


def _explain(problem: Any, document: type[BaseModel], within: str) -> str:
    place = _place(document, problem["loc"])
    where = ".".join(str(part) for part in ([within] if within else []) + place.keys)
    match problem["type"]:
        case "extra_forbidden":
            return f"{where}: {_unknown(place)}"
        case "missing":
            return f"{where}: required, but absent"
        case "union_tag_not_found":
            return f"{where}.{_discriminator(problem)}: required, but absent"
        case "union_tag_invalid":
            key, expected = _discriminator(problem), problem["ctx"]["expected_tags"]
            return f"{where}.{key}: expected one of {expected}, got {problem['input'][key]!r}"
        case "value_error":
            message = str(problem["ctx"]["error"])
            got = f", got {problem['input']!r}" if "got " not in message else ""
            return f"{where}: {message}{got}" if where else f"{message}{got}"
    return f"{where or 'document'}: {problem['msg']}, got {problem['input']!r}"


def _discriminator(problem: Any) -> str:
    return str(problem["ctx"]["discriminator"]).strip("'")


def _unknown(place: "_Place") -> str:
    """What is wrong with a key that its section does not have; names the section that has it, if there is one."""
    key, expected = place.keys[-1], f"expected one of {', '.join(place.section.model_fields)}"
    owners = [tag for tag, section in place.variants.items() if key in section.model_fields]
    if not owners:
        return f"unknown key; {expected}"
    has = "has" if len(owners) == 1 else "have"
    return (
        f"unknown key with {_tag_field(place.section)} = {place.tag!r}: only {', '.join(owners)} {has} it; {expected}"
    )


@dataclass
class _Place:
    """A place in the document: what a pydantic location means in terms of the file."""

    keys: list[str | int]
    """The keys as the file has them. A pydantic location also has the tag of each union on its way."""
    section: type[BaseModel]
    """The innermost section around the place."""
    variants: Mapping[str, type[BaseModel]]
    """The sections that might stand in its place, by tag; empty where there is no choice."""
    tag: str | None
    """The tag of the section, if there is a choice."""


def _place(document: type[BaseModel], location: Sequence[str | int]) -> _Place:
    place = _Place([], document, {}, None)
    kind: Any = document
    for part in location:
        variants = _variants(kind)
        if part in variants:
            place.section, place.variants, place.tag = variants[str(part)], variants, str(part)
            kind = place.section
            continue
        place.keys.append(part)
        if isinstance(part, int):
            kind = next(iter(get_args(kind)), None)
        else:
            kind = kind.model_fields[part].annotation if _is_model(kind) and part in kind.model_fields else None
        if len(models := _models(kind)) == 1:
            kind = place.section = models[0]
            place.variants, place.tag = {}, None
    return place


def _variants(kind: Any) -> dict[str, type[BaseModel]]:
    """The sections of a discriminated union by tag; empty for any other type."""
    models = _models(kind)
    return {section.model_fields[_tag_field(section)].default: section for section in models} if len(models) > 1 else {}


def _tag_field(section: type[BaseModel]) -> str:
    return "protocol" if "protocol" in section.model_fields else "name"


def _models(kind: Any) -> list[type[BaseModel]]:
    """The sections that a type stands for: itself, or those of a union."""
    bare = kind.__origin__ if get_origin(kind) is Annotated else kind
    candidates = get_args(bare) if get_origin(bare) in (Union, UnionType) else (bare,)
    return [candidate for candidate in candidates if _is_model(candidate)]


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
