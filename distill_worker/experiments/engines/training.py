"""The work of one worker process, whichever engine started it."""

import traceback
from pathlib import Path

from distill_worker.errors import WorkerError
from distill_worker.experiments.engines.inputs import read_inputs
from distill_worker.experiments.engines.tasks import Outcome, Task
from distill_worker.runs.train_student import train_student

Reply = Outcome | Exception
"""The outcome of a task, or the error that ended it. Both can be sent to another process."""


def train_task(task: Task, inputs: Path) -> Outcome:
    """Train the student of a task, or resume it; see `train_student`."""
    learned_from, notes = read_inputs(inputs)[task.inputs], list[str]()
    result = train_student(task.config, learned_from.samples, *learned_from.bought, note=notes.append)
    return Outcome(result, tuple(notes))


def reply_of(task: Task, inputs: Path) -> Reply:
    """The outcome of a task, or the error that ended it; an unexpected one becomes its traceback.

    The run directory's lock is the lease of a shared task: the kernel frees it when this process dies.
    """
    try:
        return train_task(task, inputs)
    except WorkerError as error:
        named = error.of(task.label)
        return Outcome({}, (), left=named) if task.is_shared else named
    except Exception:
        return RuntimeError(f"{task.label}:\n{traceback.format_exc()}")


def outcome_of(reply: Reply) -> Outcome:
    """The outcome in a reply. Raises the error that it holds instead."""
    if isinstance(reply, Exception):
        raise reply
    return reply
