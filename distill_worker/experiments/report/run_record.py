"""What the directory of a finished run says of it, and the images that its page shows."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from distill_worker.config.run_config import RunConfig
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import RunError, WorkerError
from distill_worker.experiments.analyses.analyse import analyse, stored_facts
from distill_worker.experiments.analyses.finished_run import finished_run
from distill_worker.experiments.results.metrics_file import read_metrics
from distill_worker.runs.sampling.samples import Samples
from distill_worker.training.directory.run_directory import COMMAND, RunDirectory
from distill_worker.training.finished.student import load_student
from shared.atomic_file import write_atomically

_NOT_AT_HAND: Final = "Analyses and images are left out where they are not at hand"


@dataclass(frozen=True)
class RunRecord:
    """A finished run. Runs of earlier versions, and of `train`, have fewer of these facts."""

    directory: Path
    result: Mapping[str, Any]
    identity: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    command: Mapping[str, Any]
    """What only the command knew that ended the run; see `write_command`."""
    analysis: Mapping[str, Any] = field(default_factory=dict)
    """See `experiments.analyses`; empty if there is none."""
    dataset: Dataset | None = None
    """The data of the run; None if they are not at hand."""
    missing: str = ""
    """Why there is no analysis, or are no images, in a sentence."""


def read_run(directory: Path) -> RunRecord:
    """Read a finished run. Raises `RunError` if the folder holds none."""
    files = RunDirectory(directory)
    result = files.result()
    if result is None or "accuracy" not in result:
        raise RunError(
            f"{directory}: expected the directory of a finished run or of a sweep, got one without a result; name the "
            "output.directory of one run, or finish it with the command that began it"
        )
    stored = files.read_json("run.json") or {}
    return RunRecord(
        directory,
        result,
        identity=stored.get("identity", {}),
        environment=stored.get("environment", {}),
        metrics=read_metrics(directory),
        command=files.read_json(COMMAND) or {},
    )


def with_analysis(
    run: RunRecord,
    config: RunConfig,
    *,
    samples: Samples | None = None,
    trust_code: bool = False,
    note: Callable[[str], None] = lambda _line: None,
) -> RunRecord:
    """The run with its analysis, which is made if the directory holds none, and its images; or what is missing of it.

    Args:
        run: the run.
        config: of the run.
        samples: of the run, if they are selected already.
        trust_code: see `load_student`.
        note: shows that an analysis is made.
    """
    facts, dataset = None, None
    try:
        student = load_student(run.directory, trust_code=trust_code)
        facts = stored_facts(student)
        finished = finished_run(config, student, samples=samples)
        dataset = finished.dataset
        if facts is None:
            note("analysing the student for its page")
            facts = analyse(finished)
    except WorkerError as error:
        return replace(run, analysis=facts or {}, dataset=dataset, missing=f"{_NOT_AT_HAND}: {error}")
    return replace(run, analysis=facts, dataset=dataset)


def write_command(
    directory: Path, *, command: str, paid: int, price_per_call: float | None, currency: str, warnings: Sequence[str]
) -> None:
    """Store what only the command knows that ends a run.

    Args:
        directory: of the run.
        command: as the user can type it again.
        paid: the calls that it paid.
        price_per_call: None if the configuration states no price.
        currency: of the price.
        warnings: what it warned of, a sentence each.
    """
    facts = {"command": command, "calls_paid": paid, "price_per_call": price_per_call, "currency": currency}
    write_atomically(directory / COMMAND, json.dumps({**facts, "warnings": list(warnings)}, indent=2).encode())
