"""The students of a comparison: their runs, what each of them learns from, and their training by an engine."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

from distill_worker.cache import Cache
from distill_worker.config.data_sections import Data
from distill_worker.config.run_config import RunConfig
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import DataError
from distill_worker.experiments.comparison.cells import Cell
from distill_worker.experiments.comparison.joint_purchase import selection_identity
from distill_worker.experiments.display import Display
from distill_worker.experiments.engines import Engine
from distill_worker.experiments.engines.inputs import Inputs, inputs_file
from distill_worker.experiments.engines.tasks import Task
from distill_worker.experiments.failure_signs.of_run import rise_in
from distill_worker.runs import classes, preflight
from distill_worker.runs.rounds import SelectedSamples, seconds_of_selecting, selected_samples, with_next_round
from distill_worker.runs.sampling.samples import Samples, loaded
from distill_worker.runs.sampling.targets import NOTHING_BOUGHT, load_bought
from distill_worker.training.directory.run_directory import RunDirectory


def runs_of(cells: Sequence[Cell], *, fresh: bool, trains: bool = True) -> list[preflight.Run]:
    """The run of each cell. Cells that select the same samples share them.

    Args:
        cells: the cells.
        fresh: whether earlier runs make way.
        trains: whether no other process may train the students meanwhile.
    """
    selections: dict[str, SelectedSamples] = {}

    def select(config: RunConfig) -> SelectedSamples:
        identity = selection_identity(config)
        if identity not in selections:
            selections[identity] = _selected(config)
        return selections[identity]

    return [
        preflight.Run(cell.config, partial(select, cell.config), trains=trains, fresh=fresh, title=cell.title)
        for cell in cells
    ]


def _selected(config: RunConfig) -> SelectedSamples:
    """The samples of a run; in rounds, those on disk, or else those of the first round."""
    dataset = dataset_of(config.data)
    if config.budget.rounds > 1:
        return selected_samples(config, keep=True, dataset=dataset)
    return SelectedSamples(Samples.among(dataset, config), rounds=1, later=0, teacher_id=None)


def dataset_of(data: Data) -> Dataset:
    """The data set of a section; the last one stays in memory."""
    return _dataset(data.model_dump_json())


@lru_cache(maxsize=1)
def _dataset(section: str) -> Dataset:
    data = Data.model_validate_json(section)
    dataset = loaded(data)
    if not dataset.has_test:
        raise DataError(
            f"data: expected test images with labels, by which students are compared, got none in {data.name}; without "
            "them, train single students: distill-worker run"
        )
    return dataset


def inputs_of(
    runs: Sequence[preflight.Run], kinds: Sequence[tuple[str, ...]], teacher_id: str | None, cache: Cache
) -> list[Inputs]:
    """What the student of each run learns from. Runs on the same samples and kinds of output share it."""
    inputs: dict[tuple[int, tuple[str, ...]], Inputs] = {}
    for run, wanted in zip(runs, kinds, strict=True):
        if (key := (id(run.samples), wanted)) not in inputs:
            bought = NOTHING_BOUGHT
            if teacher_id is not None and run.config.needs_teacher:
                bought = load_bought(cache, run.config, run.samples, teacher_id, wanted)
            inputs[key] = Inputs(run.samples, bought)
    return [inputs[id(run.samples), wanted] for run, wanted in zip(runs, kinds, strict=True)]


def doubts(runs: Sequence[preflight.Run], inputs: Sequence[Inputs]) -> list[str]:
    """The warnings about bought outputs, each once."""
    runs_by_inputs = {(id(one), run.config.track): (run, one.bought) for run, one in zip(runs, inputs, strict=True)}
    warnings = [
        classes.doubts(run.config, run.samples, bought.targets, bought.class_order)
        for run, bought in runs_by_inputs.values()
    ]
    return list(dict.fromkeys(chain(*warnings)))


def train_students(
    cells: Sequence[Cell],
    inputs: Sequence[Inputs],
    engine: Engine,
    *,
    directory: Path,
    fresh: bool,
    display: Display,
    role: str = "students",
) -> list[dict[str, Any]]:
    """Train the student of each cell on its inputs; their results. Several cells may have the same inputs."""
    moved: list[str] = []
    if fresh:  # now, so that a student whose worker dies resumes, and is not moved aside
        for cell in cells:
            RunDirectory(cell.config.output.directory).vacate(moved.append)
    names = {id(one): str(number) for number, one in enumerate(inputs)}
    tasks = [Task(cell.title, cell.config, names[id(one)]) for cell, one in zip(cells, inputs, strict=True)]
    results: dict[int, dict[str, Any]] = {}
    title = f"{role} ({', '.join(dict.fromkeys(cell.config.student.network for cell in cells))})"
    with (
        inputs_file(directory, {names[id(one)]: one for one in inputs}) as file,
        display.progress_bar(title, len(tasks)) as move,
        closing(engine.outcomes(tasks, file)) as outcomes,
    ):
        move(0, _in_training(engine, len(tasks)))
        try:
            for index, outcome in outcomes:
                results[index] = outcome.result
                for line in outcome.notes:
                    display.note(f"{tasks[index].label}: {line}")
                move(len(results), f"{_in_training(engine, len(tasks) - len(results))}; last: {tasks[index].label}")
        except BaseException:
            display.note("ending the students in training; the same command resumes with those that are not finished")
            raise
    if moved:
        display.note(moved[0] + (f"; and {len(moved) - 1} more likewise" if len(moved) > 1 else ""))
    return [
        {
            "method": cell.label,
            "track": cell.config.data_used,
            "n": cell.n,
            "seed": cell.seed,
            **kept(cell, results[index]),
        }
        for index, cell in enumerate(cells)
    ]


def in_next_round(
    cells: Sequence[Cell],
    runs: Sequence[preflight.Run],
    inputs: Sequence[Inputs],
    train: Callable[..., list[dict[str, Any]]],
    display: Display,
) -> list[preflight.Run]:
    """The runs with the samples of their next rounds, where they have one, after its students are trained."""
    waiting = [place for place, run in enumerate(runs) if run.selected.later]
    train(
        [cells[place].with_config(runs[place].training) for place in waiting],
        [inputs[place] for place in waiting],
        role="students that select",
    )
    following = list(runs)
    with display.progress_bar("selecting", len(waiting)) as move:
        for done, place in enumerate(waiting):
            move(done, cells[place].title)
            following[place] = run_with_next_round(runs[place], inputs[place])
        move(len(waiting), "")
    return following


def run_with_next_round(run: preflight.Run, inputs: Inputs) -> preflight.Run:
    """The run with the samples of its next round, which the student that was trained on these inputs selects."""
    selected = with_next_round(run.config, run.selected, inputs.bought.teacher_id)
    return replace(run, select=lambda: selected)


def _in_training(engine: Engine, unfinished: int) -> str:
    return f"{min(engine.slots, unfinished)} in training"


def kept(cell: Cell, result: dict[str, Any]) -> dict[str, Any]:
    """What a comparison keeps of a run's result: with `[tuning]` the chosen settings too, without their scores.

    `seconds` are those of all that is trained for it, also of the students that select. If the loss diverged and rose
    again, `rise` says how.
    """
    kept = {name: result[name] for name in ("accuracy", "calls", "steps", "best_validation", "teacher_id")}
    kept["seconds"] = round(result["seconds"] + seconds_of_selecting(cell.config), 3)
    kept |= {name: result[name] for name in ("self_training", "outside_weights", "student_weights") if name in result}
    if (rise := rise_in(cell.config.output.directory)) is not None:
        kept["rise"] = rise._asdict()
    return kept | {"tuning": result["tuning"]["chosen"]} if "tuning" in result else kept
