"""What `pack` does: make a file that describes itself, try it, write it, and print its card and what to do next.

Invariant: a file is there only if it was opened as the service opens it, and gave usable logits. No file is replaced.
"""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from shared.atomic_file import atomic_replacement
from shared.exit_status import ExitStatus
from shared.networks import runs_code
from shared.weights import WeightsError
from teacher_service.cli.console import fail
from teacher_service.models import Teacher, open_model
from teacher_service.models.file_kind import ARCHIVES
from teacher_service.models.packing.advice import SUFFIXES, packed_path
from teacher_service.models.packing.class_names import class_names
from teacher_service.models.packing.description import Description
from teacher_service.models.packing.pack import Packed, PackRequest
from teacher_service.models.packing.pack import pack as make
from teacher_service.models.packing.preprocessing import Preprocessing, numbers, preprocessing_of, size
from teacher_service.models.packing.trial import Answer, check_answers, top_classes

_TOP: Final = 5
_MOST_NAMES: Final = 5
"""Names of classes in the table."""


@dataclass(frozen=True)
class Statements:
    """The options of `pack` as they were typed; None for one that was not."""

    source: Path
    network: str | None
    class_names: str | None
    preprocessing: str | None
    mean: str | None
    std: str | None
    image_size: str | None
    resize: str | None
    num_classes: int | None
    in_channels: int | None
    trust_code: bool
    trust_pickle: bool

    def request(self) -> PackRequest:
        """What they state. Raises ValueError."""
        description = Description(
            f"the file {self.source}",
            None if self.class_names is None else class_names(self.class_names),
            self._preprocessing(),
            self.num_classes,
            self.in_channels,
        )
        return PackRequest(self.source, description, self.network, self.trust_code, self.trust_pickle)

    def _preprocessing(self) -> Preprocessing:
        return preprocessing_of(self.preprocessing).changed(
            mean=None if self.mean is None else numbers("mean", self.mean),
            std=None if self.std is None else numbers("std", self.std),
            image_size=None if self.image_size is None else size("image_size", self.image_size),
            resize=None if self.resize is None else size("resize", self.resize),
        )


def pack(statements: Statements, output: Path | None, picture: Path | None, *, as_json: bool) -> None:
    """Pack a model; an error ends the command with a message, and leaves no file."""
    try:
        packed = make(statements.request())
        path = _output(packed, statements.source, output)
        with atomic_replacement(path) as partial:
            partial.write_bytes(packed.content)
            teacher = open_model(partial, "cpu", trust_code=True)  # the code that just ran
            check_answers(teacher, statements.source)
            top = [] if picture is None else top_classes(teacher, picture, _TOP)
    except WeightsError as error:
        fail(str(error), ExitStatus.UNUSABLE_FILE)
    except ValueError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or output}: cannot be written ({error.strerror or error})", ExitStatus.UNUSABLE_FILE)
    for remark in packed.remarks:
        print(f"note: {remark}", file=sys.stderr)
    facts = {"file": str(path), "model_version": teacher.fingerprint, **packed.card.model_dump(mode="json")}
    if as_json:
        print(json.dumps(facts | ({} if picture is None else {"top": [vars(answer) for answer in top]})))
        return
    _print_card(path, packed, teacher)
    if picture is not None:
        _print_top(picture, top)
    _print_next(path, packed)


def _output(packed: Packed, source: Path, stated: Path | None) -> Path:
    """The path of the packed file, which does not exist yet. Raises ValueError."""
    path = stated or packed_path(source, packed.kind)
    suffix = SUFFIXES[packed.kind]
    if path.suffix in SUFFIXES.values() and path.suffix != suffix and {path.suffix, suffix} != {".pt", ".pt2"}:
        raise ValueError(f"output: expected a name that ends in {suffix}, as {packed.kind.value} does, got {path}")
    if path.exists():
        raise ValueError(
            f"{path}: expected no file of this name, got one; delete it, or choose another name with --output, because "
            "a file that may be served already is never replaced. Nothing was written"
        )
    if packed.beside and path.resolve().parent != source.resolve().parent:
        raise ValueError(
            f"output: expected a file in the folder of {source}, beside {', '.join(packed.beside)}, which the model "
            f"needs, got {path}; nothing was written"
        )
    return path


def _print_card(path: Path, packed: Packed, teacher: Teacher) -> None:
    card = packed.card
    plural = "" if card.in_channels == 1 else "s"
    names = ", ".join(card.class_names[:_MOST_NAMES]) + (", ..." if card.num_classes > _MOST_NAMES else "")
    rows: dict[str, Any] = {
        "file": path,
        "network": card.network,
        "classes": f"{card.num_classes}: {names}",
        "images": f"{card.image_size[0]} x {card.image_size[1]} (height x width), {card.in_channels} channel{plural}",
    }
    if card.resize is not None:
        rows["network sees"] = f"{card.resize[0]} x {card.resize[1]}"
    rows |= {
        "mean": ", ".join(f"{value:g}" for value in card.mean),
        "std": ", ".join(f"{value:g}" for value in card.std),
        "model version": teacher.fingerprint,
        "checked": "answered images alone and in a batch, with finite and equal logits",
    }
    table = Table(show_header=False)
    for name, value in rows.items():
        table.add_row(name, Text(str(value)))  # which reads no markup in a class's name
    Console().print(table)


def _print_top(picture: Path, top: list[Answer]) -> None:
    table = Table("probability", Column(Text(f"class of {picture.name}")))
    for answer in top:
        table.add_row(f"{answer.probability:.4f}", Text(answer.name))
    Console().print(table)


def _print_next(path: Path, packed: Packed) -> None:
    trust = " --trust-code" if packed.kind in ARCHIVES or runs_code(packed.card.network) else ""
    print("next:")
    print("  teacher-service keys create --name alice --quota 500")
    print(f"  teacher-service serve --weights {shlex.quote(str(path))}{trust}")
