"""What is wrong with a configuration, in the terms of its file: the key, the expected value and the one that it got."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from shared.expectations import did_you_mean, expectation, shown


def explained(error: ValidationError, document: type[BaseModel], *, within: str = "") -> str:
    """All problems of a document in one line: for each the key, the expected value and the one that it got."""
    return "; ".join(_explain(problem, document, within) for problem in error.errors(include_url=False))


def wrong_keys(error: ValidationError, document: type[BaseModel]) -> list[list[str | int]]:
    """The place of each problem in a document, as the keys of its file."""
    return [_place(document, problem["loc"]).keys for problem in error.errors(include_url=False)]


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
            got = problem["input"][key]
            hint = did_you_mean(got, [tag.strip("'") for tag in expected.split(", ")])
            return f"{where}.{key}: expected one of {expected}, got {shown(got)}{hint}"
        case "value_error":
            message = str(problem["ctx"]["error"])
            got = f", got {shown(problem['input'])}" if "got " not in message else ""
            return f"{where}: {message}{got}" if where else f"{message}{got}"
    return f"{where or 'document'}: {expectation(problem, table='a section')}"


def _discriminator(problem: Any) -> str:
    return str(problem["ctx"]["discriminator"]).strip("'")


def _unknown(place: "_Place") -> str:
    """What is wrong with a key that its section does not have; names the section that has it, if there is one."""
    key, fields = place.keys[-1], list(place.section.model_fields)
    hint = did_you_mean(key, fields)
    expected = f"expected one of {', '.join(fields)}"
    owners = [tag for tag, section in place.variants.items() if key in section.model_fields]
    if not owners:
        return f"unknown key{hint}; {expected}"
    has = "has" if len(owners) == 1 else "have"
    variant = f"{_tag_field(place.section)} = {place.tag!r}"
    return f"unknown key with {variant}: only {', '.join(owners)} {has} it{hint}; {expected}"


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
