"""Write docs/configuration.md from the sections of the configuration. `make docs` runs it.

Each key has its type, its default, and the docstring that stands below the field in the code.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from distill_worker.cli.new_run.comments import docstring_of
from distill_worker.config.answers.answer_path import AnswerFields
from distill_worker.config.data_sections import Augmentation, Budget, Corruption, Data, Imbalance, LabelNoise
from distill_worker.config.run_config import Output, RunConfig
from distill_worker.config.section import ImageSize
from distill_worker.config.stages.self_training import SelfTraining
from distill_worker.config.stages.tuning import Tuning
from distill_worker.config.teacher_address import ChatAddress, LabelledScoresAddress, OpenInferenceAddress
from distill_worker.config.training_section import Student, Training
from distill_worker.experiments.comparison.compare_section import Compare, ComparedMethod, LocalTeacher
from distill_worker.experiments.sweep.sweep_section import SweepPoint, SweepSection
from distill_worker.methods import METHODS

PAGE: Final = Path(__file__).parent / "configuration.md"
_BEGIN: Final = "<!-- sections: made by `make docs` -->\n"
_END: Final = "<!-- end of sections -->\n"

_OF_RUN: Final[Mapping[str, type[BaseModel]]] = {
    "[data]": Data,
    "[student]": Student,
    "[budget]": Budget,
    "[training]": Training,
    "[tuning]": Tuning,
    "[self_training]": SelfTraining,
    "[augmentation]": Augmentation,
    "[corruption]": Corruption,
    "[corruption.label_noise]": LabelNoise,
    "[corruption.imbalance]": Imbalance,
    "[output]": Output,
}
_PROTOCOLS: Final[Mapping[str, type[BaseModel]]] = {
    "open-inference": OpenInferenceAddress,
    "labelled-scores": LabelledScoresAddress,
    "chat": ChatAddress,
}
_OF_COMPARISON: Final[Mapping[str, type[BaseModel]]] = {
    "[compare]": Compare,
    "[compare.teacher]": LocalTeacher,
    "[[compare.methods]]": ComparedMethod,
}
_OF_SWEEP: Final[Mapping[str, type[BaseModel]]] = {"[sweep]": SweepSection, "[[sweep.points]]": SweepPoint}
_METHODS: Final = """\
`name` chooses the method; the other keys are its parameters. Without the section, `auto` chooses ([auto.md](auto.md)).
A section `[[plus]]` adds the loss of another method: its keys are the same, but for `label_weight`, which the first
method alone has.
"""
_WRITTEN_BY_THE_WORKER: Final = {"chosen_by_auto"}
_NAMES: Final[Mapping[Any, str]] = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    Any: "any value",
}
_SIGNS: Final = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


def sections() -> str:
    """The sections of all files, as Markdown."""
    top = {name: field for name, field in RunConfig.model_fields.items() if name not in _WRITTEN_BY_THE_WORKER}
    plain = {name: field for name, field in top.items() if not _sections_in(field.annotation)}
    parts = [
        "## At the top of the file\n",
        _table(RunConfig, [name for name in plain if name not in ("method", "plus")]),
        *_all(_OF_RUN),
        *_teacher(),
        "## Methods: `[method]` and `[[plus]]`\n",
        _METHODS,
        *(part for name, method in METHODS.items() for part in _method(name, method)),
        "## The file of a comparison\n",
        "It has the sections of a run but `[method]` and `[output]`, and these ([comparing.md](comparing.md)):\n",
        *_all(_OF_COMPARISON, "###"),
        "## The file of a sweep\n",
        "It has the sections of a comparison, and these ([sweeps.md](sweeps.md)):\n",
        *_all(_OF_SWEEP, "###"),
    ]
    return "\n".join(parts)


def with_sections(page: str) -> str:
    """The page with the current sections."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{sections()}\n{_END}{after}"


def _all(named: Mapping[str, type[BaseModel]], level: str = "##") -> Iterator[str]:
    for title, section in named.items():
        yield f"{level} `{title}`\n"
        yield f"{_summary(section)}\n"
        yield _table(section, list(section.model_fields))


def _teacher() -> Iterator[str]:
    """The section of the teacher: the keys of every protocol, then those of each alone."""
    first, *others = _PROTOCOLS.values()
    common = [key for key in first.model_fields if all(key in other.model_fields for other in others)]
    common.sort(key=lambda key: key != "protocol")
    yield "## `[teacher]`\n"
    yield "Where outputs are bought, how fast and at what price. `protocol` is one of:\n"
    yield from (f"- `{name}`: {_summary(section)}" for name, section in _PROTOCOLS.items())
    yield f"\n### In every protocol\n\n{_table(first, common)}"
    for name, section in _PROTOCOLS.items():
        own = [key for key in section.model_fields if key not in common]
        yield f'### With `protocol = "{name}"`\n\n{_table(section, own)}'
    yield from _all({"[teacher.answer]": AnswerFields}, "###")


def _method(name: str, method: type[BaseModel]) -> Iterator[str]:
    yield f"### `{name}`\n"
    yield f"{_summary(method)} Source: {getattr(method, 'paper', '')}.\n"
    yield _table(method, [key for key in method.model_fields if key != "name"])


def _summary(section: type[BaseModel]) -> str:
    """The docstring of a section without its technical tail."""
    return " ".join(inspect.cleandoc(section.__doc__ or "").split("\n\n")[0].split())


def _table(section: type[BaseModel], keys: list[str]) -> str:
    rows = ["| key | type | default | |", "|---|---|---|---|"]
    for key in keys:
        field = section.model_fields[key]
        rows.append(
            f"| `{key}` | {_cell(kind_of(field))} | {_cell(_default(field))} | {_cell(description_of(section, key))} |"
        )
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def kind_of(field: FieldInfo) -> str:
    """The type of a key in words, with its limits."""
    limits = [
        f"{sign} {_number(getattr(mark, name))}"
        for kind, name, sign in _SIGNS
        for mark in field.metadata
        if isinstance(mark, kind)
    ]
    longest = [f"at most {mark.max_length} characters" for mark in field.metadata if isinstance(mark, MaxLen)]
    return ", ".join([_kind(field.annotation), *limits, *longest])


def _kind(kind: Any) -> str:
    if kind == ImageSize:
        return "two whole numbers: height, width"
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{_value(value)}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(one) for one in arguments if one is not NoneType))
    if origin is tuple:
        return f"list: {_kind(arguments[0])}"
    if origin is dict:
        return "table"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "section"
    return _NAMES.get(kind) or str(getattr(kind, "__name__", kind))


def _sections_in(kind: Any) -> bool:
    """Whether a type is a section, or one of several."""
    if get_origin(kind) in (Annotated, Union, UnionType):
        return any(_sections_in(one) for one in get_args(kind))
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, BaseModel):
        return "see its section"
    return "" if field.default is None else f"`{_value(field.default)}`"


def _value(value: Any) -> str:
    """A value as TOML has it."""
    match value:
        case bool():
            return str(value).lower()
        case str() | Path():
            return f'"{value}"'
        case tuple() | list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case dict():
            return "{}"
    return _number(value)


def _number(value: Any) -> str:
    return f"{value:g}" if float(f"{value:g}") == value else str(value)


def description_of(section: type[BaseModel], key: str) -> str:
    """The docstring below a field, in one line, with links to the documents that it names. Empty if it has none."""
    return re.sub(r"\((docs/)([\w-]+\.md)\)", r"([\2](\2))", docstring_of(section, key))


if __name__ == "__main__":
    PAGE.write_text(with_sections(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
