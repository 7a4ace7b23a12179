"""The run that a command line states: a file, options, or both."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distill_worker.cli.console import say
from distill_worker.config.load import COMMAND_LINE, parse_config, read_document, with_notes
from distill_worker.config.places import Note
from distill_worker.config.run_config import RunConfig
from distill_worker.config.training_section import AUTO
from distill_worker.data.datasets.class_folders import image_files
from distill_worker.data.datasets.hugging_face import is_saved
from distill_worker.data.datasets.parts import files_in
from distill_worker.errors import ConfigError
from distill_worker.runs.resolution import resolved, with_facts_of_teacher
from distill_worker.teachers.http_errors import public_url

_SHARDS: Final = {".tar": "webdataset", ".parquet": "hugging-face"}
_KINDS: Final = {".npz": "npz", **_SHARDS}
"""The name of the data set by the extension of the file."""


@dataclass(frozen=True)
class StatedRun:
    """A run as the command line states it."""

    file: Path | None
    overrides: Sequence[str]
    """`section.key=value`: what replaces values of the file."""
    data: Path | None = None
    teacher_url: str | None = None
    n: int | None = None
    student: str | None = None

    def config(self, *, fresh: bool = False, teacher_id: str | None = None, asks: bool = True) -> RunConfig:
        """The run, resolved.

        Args:
            fresh: whether an earlier run in its directory makes way.
            teacher_id: see `with_facts_of_teacher`, as of `asks`.
            asks: whether the teacher may be contacted for its classes, if the data have no labels.

        Raises:
            ConfigError: see `document`, `load_config` and `with_facts_of_teacher`; or the data are not there.
        """
        if self.data is not None and not self.data.exists():
            raise ConfigError(
                f"--data: expected a folder or a file with your data, got {self.data}, which is not there"
            )
        document, notes = self.document()
        config = with_notes(notes, parse_config(document, source=self.source), say)
        return resolved(with_facts_of_teacher(config, say, teacher_id=teacher_id, asks=asks), fresh=fresh)

    @property
    def source(self) -> str:
        """What messages call the place of the settings."""
        return COMMAND_LINE if self.file is None else str(self.file)

    def document(self) -> tuple[dict[str, Any], list[Note]]:
        """The document of the run, with what the options state; see `read_document`.

        Raises:
            ConfigError: there is neither a file nor data, or the file cannot be read.
        """
        if self.file is None and self.data is None:
            raise ConfigError("expected the file of a run, or --data and --teacher-url, got neither; see examples/")
        if self.file is not None and self.file.is_dir():
            raise ConfigError(
                f"{self.file}: expected a TOML file, got a folder; to train on the images in it, write --data "
                f"{self.file}"
            )
        return read_document(self.file, (*self._options(), *self.overrides))

    def command(self, name: str, *options: str) -> str:
        """The command with its options, as the user can type it again; without the password that a URL may hold."""
        shown = [one if "@" not in one else f"{one.partition('=')[0]}=..." for one in self.overrides]
        url = None if self.teacher_url is None else public_url(self.teacher_url)
        values = {"--data": self.data, "--teacher-url": url, "--n": self.n, "--student": self.student}
        return shlex.join(
            [
                "distill-worker",
                name,
                *([] if self.file is None else [str(self.file)]),
                *(part for option, value in values.items() if value is not None for part in (option, str(value))),
                *(part for one in shown for part in ("--set", one)),
                *options,
            ]
        )

    def _options(self) -> list[str]:
        """The options as overrides. Without a file, no network need be stated, and each n has its own directory."""
        values: dict[str, object] = {
            "student.network": self.student,
            "teacher.url": self.teacher_url,
            "budget.n": self.n,
        }
        if self.file is None and self.data is not None:
            n = "all" if self.n is None else self.n
            values["student.network"] = self.student or AUTO
            values["output.directory"] = f"runs/{self.data.stem}-{n}"
        if self.data is not None:
            values |= {"data.name": kind_of(self.data), "data.path": str(self.data)}
        return [
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in values.items() if value is not None
        ]


def kind_of(data: Path) -> str:
    """The name of the data set of the user's own data."""
    if (kind := _KINDS.get(data.suffix.lower())) is not None:
        return kind
    if is_saved(data):
        return "hugging-face"
    return _of_shards(data) or "image-folder"


def _of_shards(data: Path) -> str | None:
    """The name of the data set in a folder that has shards, and no image files beside them."""
    if not data.is_dir() or image_files(data)[0]:
        return None
    return next((kind for extension, kind in _SHARDS.items() if files_in(data, extension)), None)
