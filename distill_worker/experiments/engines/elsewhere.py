"""Training where the folder of the comparison is not in sight: on another machine, in a folder of its own.

The files of the run travel: those of an earlier run there, the finished ones back.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Final

from distill_worker.errors import storage_errors
from distill_worker.experiments.engines.tasks import Task
from distill_worker.experiments.engines.training import Reply, reply_of
from distill_worker.training.directory.run_directory import STAGES, STUDENT, TRACKED
from shared.atomic_file import atomic_replacement, write_atomically

Files = Mapping[str, bytes]
"""The files of a run directory, by their paths in it."""

_FOLDERS: Final = (*STAGES, *TRACKED)
"""The folders of a run that travel with its files."""
_SELECTIONS: Final = ("rounds/????.json", f"rounds/????/{STUDENT}")
"""The selections of a run in rounds, and the students that made them."""
_WRITTEN_LAST: Final = "result.json"


def train_elsewhere(task: Task, folder: str, inputs: Callable[[], Any], earlier: Files) -> tuple[Reply, Files]:
    """Train the student of a task below the temporary folder of this machine; its reply, and the files of its run.

    Args:
        task: the student.
        folder: the name of the folder, one for all tasks of a list: a task that is done again there resumes.
        inputs: loads the content of the file of inputs, uint8 `[bytes]`; called by the first task on a machine.
        earlier: the files of an earlier run.
    """
    place = folder_of(folder)
    place.mkdir(mode=0o700, exist_ok=True)
    output = task.config.output
    own = place / sha256(str(output.directory).encode()).hexdigest()
    directory = own / output.directory.name  # which trackers show
    if not directory.exists():
        put_back(directory, earlier)
    here = task.config.model_copy(update={"output": output.model_copy(update={"directory": directory})})
    reply = reply_of(replace(task, config=here), _stored(place / "inputs.pt", inputs))
    files = {} if isinstance(reply, Exception) or reply.left is not None else files_of(directory)
    shutil.rmtree(own, ignore_errors=True)
    return reply, files


def folder_of(name: str) -> Path:
    """The folder of a task list on this machine."""
    return Path(tempfile.gettempdir()) / name


def files_of(directory: Path) -> Files:
    """The files of a run directory, of its selections, of the stages before its training and of its trackers.

    Empty if there is none.
    """
    selections = (directory.glob(pattern) for pattern in _SELECTIONS)
    paths = chain(directory.glob("*"), *selections, _in_folders(directory))
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in paths if path.is_file() and path.name[0] != "."
    }


def _in_folders(directory: Path) -> list[Path]:
    return [path for folder in _FOLDERS for path in (directory / folder).rglob("*")]


def put_back(directory: Path, files: Files) -> None:
    """Write the files of a run into its directory, the result last, and delete what a finished run left behind.

    Raises:
        RunError: the directory cannot be written.
    """
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for name in sorted(files, key=_WRITTEN_LAST.__eq__):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(directory / name, files[name])
        if _WRITTEN_LAST in files:
            for path in (directory / "checkpoint.pt", *_in_folders(directory)):
                if path.is_file() and str(path.relative_to(directory)) not in files:
                    path.unlink()


def _stored(path: Path, content: Callable[[], Any]) -> Path:
    """The file of inputs on this machine, which its workers share."""
    if not path.exists():
        with atomic_replacement(path, partial=path.with_name(f".{os.getpid()}.part")) as partial:
            content().tofile(partial)
    return path
