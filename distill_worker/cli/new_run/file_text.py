"""The text of a new run's file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from distill_worker.cli.new_run.comments import comment_on
from distill_worker.config.data_sections import Budget, Data
from distill_worker.config.run_config import Output
from distill_worker.config.teacher_address import OpenInferenceAddress
from distill_worker.config.training_section import Student, Training

_HEAD: Final = """\
# A run of Tuition. Relative paths start at the folder of this file. A line such as `# key = value` shows a key that may
# be set; docs/configuration.md has all keys.

# [method]: which method trains the student. Without the section it is chosen, with its settings (docs/auto.md);
# distill-worker methods lists all.
"""


@dataclass(frozen=True)
class NewRun:
    """What is stated in a new file."""

    data: Data
    image_size: tuple[int, int] | None
    network: str
    url: str
    n: int
    directory: str


@dataclass(frozen=True)
class _Key:
    name: str
    value: Any
    is_stated: bool = True
    """Whether the key is set; otherwise its line is a comment."""


def text_of(run: NewRun, file: Path) -> str:
    """The text of the file. Paths in its folder are written relative to it."""
    folder = file.absolute().parent
    data = run.data
    place = (
        _Key("path", _shown(data.path, folder)) if data.path is not None else _Key("root", _shown(data.root, folder))
    )
    sections: Sequence[tuple[str, type[BaseModel], Sequence[_Key]]] = (
        (
            "data",
            Data,
            (
                _Key("name", data.name),
                *([place] if data.path is not None or data.reads_root else []),
                *([_Key("image_size", list(run.image_size))] if run.image_size is not None else []),
                *([_Key("labels", "none")] if not data.has_labels else []),
                *([_Key("unreadable", "skip", is_stated=False)] if data.name == "image-folder" else []),
            ),
        ),
        ("student", Student, (_Key("network", run.network),)),
        (
            "teacher",
            OpenInferenceAddress,
            (
                _Key("url", run.url),
                _Key("model", OpenInferenceAddress.model_fields["model"].default, is_stated=False),
                _Key("price_per_call", 0.001, is_stated=False),
            ),
        ),
        ("budget", Budget, (_Key("n", run.n), _Key("seed", 0, is_stated=False))),
        ("training", Training, (_Key("seed", 0), _Key("device", "cpu", is_stated=False))),
        (
            "output",
            Output,
            (
                _Key("directory", run.directory),
                _Key("cache", str(Output.model_fields["cache"].default)),
            ),
        ),
    )
    return "\n".join([_HEAD, *(line for section in sections for line in _lines(*section))])


def _lines(title: str, section: type[BaseModel], keys: Sequence[_Key]) -> Iterator[str]:
    yield f"[{title}]"
    for key in keys:
        yield from comment_on(section, key.name)
        line = f"{key.name} = {json.dumps(key.value, ensure_ascii=False)}"
        yield line if key.is_stated else f"# {line}"
    yield ""


def _shown(path: Path, folder: Path) -> str:
    """A path as it is written in a file of this folder."""
    whole = path.absolute()
    return str(whole.relative_to(folder)) if whole.is_relative_to(folder) else str(whole)
