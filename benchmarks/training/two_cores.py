"""Two cores at work: two students at once by the engines of `compare`, and one student on two ranks by torchrun.

Every command runs as a user types it, in a process of its own, with one thread a student. What counts is the time from
the beginning of the first training to the end of the last; the rest of the command is its start, a figure apart.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.figures import Figure, figure
from benchmarks.training.part import SUITE, Part, ratio
from benchmarks.training.students import BATCH, CHANNELS, CLASSES, SIZE, STUDENT
from benchmarks.training.turns import in_turns, ratios

PYTHON = Path(".venv/bin/python")
"""The environment of the project, which has Ray; .venv-bench has not."""
STEPS, STUDENTS = 60, 2
COMMAND_SECONDS = 300
"""After which a command counts as hung."""
SAMPLES, TEST_SAMPLES = 1000, CLASSES
TARGET = 1.8
_WORKER = ("-m", "distill_worker")
_RANKS = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
_OWN_BATCH_NORM = ("--set", "training.batch_norm=per-rank")
_TRAIN = f"""
[data]
name = "npz"
path = "noise.npz"

[student]
network = "{STUDENT}"

[training]
steps = {STEPS}
batch_size = {BATCH}
"""
_RUN = f"""{_TRAIN}
[budget]
n = {SAMPLES}

[method]
name = "ce"

[output]
directory = "DIRECTORY"
"""
_COMPARISON = f"""{_TRAIN}
[compare]
directory = "DIRECTORY"
n = [{SAMPLES}]
seeds = {STUDENTS}

[[compare.methods]]
label = "CE"
method = {{ name = "ce" }}
"""


def figures(rounds: int) -> Iterator[Figure]:
    """How much faster two cores are than one, and how long the commands take to start."""
    timings: dict[str, list[_Timing]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _write_noise(place / "noise.npz")

        def subject(name: str, document: str, *command: str) -> Callable[[], float]:
            def run() -> float:
                timing = _run(place, document, command)
                timings[name].append(timing)
                return timing.training

            return run

        compare, train_on_ranks = (*_WORKER, "compare", "--engine"), (*_RANKS, *_WORKER, "train")
        seconds = in_turns(
            {
                "one_by_one": subject("one_by_one", _COMPARISON, *compare, "local", "--jobs", "1"),
                "local": subject("local", _COMPARISON, *compare, "local", "--jobs", "2"),
                "ray": subject("ray", _COMPARISON, *compare, "ray", "--jobs", "2"),
                "process": subject("process", _RUN, *_WORKER, "train"),
                "ranks": subject("ranks", _RUN, *train_on_ranks),
                "ranks_own_batch_norm": subject("ranks_own_batch_norm", _RUN, *train_on_ranks, *_OWN_BATCH_NORM),
            },
            rounds,
            warm_up=False,
        )
    for engine in ("local", "ray"):
        faster = ratios(seconds["one_by_one"], seconds[engine])
        yield ratio(f"{engine}_engine_vs_one_by_one", faster, target=TARGET)
    yield ratio("ranks_vs_process", ratios(seconds["process"], seconds["ranks"]), target=TARGET)
    yield ratio("ranks_own_batch_norm_vs_process", ratios(seconds["process"], seconds["ranks_own_batch_norm"]))
    for name, values in seconds.items():
        yield figure(SUITE, f"{name}_training", values, unit="s", better="lower")
        yield figure(SUITE, f"{name}_start", [timing.start for timing in timings[name]], unit="s", better="lower")
    for name in ("one_by_one", "local", "ray"):
        yield figure(SUITE, f"{name}_student", [timing.student for timing in timings[name]], unit="s", better="lower")
    for name in ("local", "ray"):
        yield figure(SUITE, f"{name}_apart", [timing.apart for timing in timings[name]], unit="s", better="lower")


class _Timing(NamedTuple):
    """Seconds of a command."""

    start: float
    """Outside the trainings."""
    training: float
    """From the first training's beginning to the last one's end."""
    student: float
    """The longest training of a student."""
    apart: float
    """From the first training's beginning to the last one's."""


def _run(place: Path, document: str, command: Sequence[str]) -> _Timing:
    """Time a command in a new directory.

    Raises:
        RuntimeError: the command failed; the message holds the end of its output.
        subprocess.TimeoutExpired: it hung.
    """
    with tempfile.TemporaryDirectory(dir=place) as directory:
        file = place / "document.toml"
        file.write_text(document.replace("DIRECTORY", directory))
        started = time.perf_counter()
        status, errors = _finished([PYTHON, *command, file])
        seconds = time.perf_counter() - started
        results = list(Path(directory).rglob("result.json"))
        students = STUDENTS if document == _COMPARISON else 1
        if status or len(results) != students:
            raise RuntimeError(
                f"{' '.join(command)}: expected {students} trained students, got {len(results)}:\n{errors[-2000:]}"
            )
        ended = [result.stat().st_mtime for result in results]
        taken = [json.loads(result.read_text())["seconds"] for result in results]
        begun = [end - of_one for end, of_one in zip(ended, taken, strict=True)]
        training = max(ended) - min(begun)
        return _Timing(seconds - training, training, max(taken), max(begun) - min(begun))


def _finished(command: Sequence[str | Path]) -> tuple[int, str]:
    """The exit status and the errors of a command; the processes that it leaves, or that hang, are killed."""
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            command, env=_environment(), stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        ) as process:
            try:
                status = process.wait(COMMAND_SECONDS)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        errors.seek(0)
        return status, errors.read()


def _environment() -> dict[str, str]:
    """This process's environment, where Python may keep the bytecode of what it imports, as it does for users."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _write_noise(path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (SAMPLES + TEST_SAMPLES, SIZE, SIZE, CHANNELS), np.uint8)
    labels = np.arange(SAMPLES + TEST_SAMPLES) % CLASSES
    train, test = slice(SAMPLES), slice(SAMPLES, None)
    np.savez(
        path,
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
    )


PART = Part(
    "two_cores",
    "two students at once by compare's engines, and one student on two ranks, as whole commands",
    seconds=285,
    rounds=3,
    figures=figures,
)
