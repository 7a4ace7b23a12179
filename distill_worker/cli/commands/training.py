"""The commands that train one student: `train` on cached outputs, `run` on outputs that it buys first."""

from typing import Annotated

import typer

from distill_worker.cli.examples import examples
from distill_worker.cli.options import (
    All,
    AsJson,
    Calls,
    ConfigFile,
    DataPath,
    Fresh,
    MaxCalls,
    Network,
    OptionalConfigFile,
    Overrides,
    TeacherUrl,
    Yes,
)


@examples("distill-worker train run.toml", "distill-worker train run.toml --held --set training.seed=1")
def train(
    config_file: ConfigFile,
    overrides: Overrides = None,
    teacher_id: Annotated[
        str | None, typer.Option(help="The teacher to learn from, if the cache holds outputs of several.")
    ] = None,
    held: Annotated[
        bool,
        typer.Option("--held", help="Train on the samples that are in the cache; their number takes the place of n."),
    ] = False,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Train a student on cached outputs, without a teacher. After a kill, it resumes from its last checkpoint.

    torchrun starts it on several devices, for one student: torchrun --nproc-per-node 2 -m distill_worker train
    CONFIG.toml; see docs/several-devices.md.
    """
    from distill_worker.cli.actions import training
    from distill_worker.cli.stated_run import StatedRun

    stated = StatedRun(config_file, overrides or ())
    training.train(stated, teacher_id=teacher_id, held=held, fresh=fresh, as_json=as_json)


@examples(
    "distill-worker run run.toml", "distill-worker run --data photos/ --teacher-url https://teacher.example.org --n 500"
)
def run(
    config_file: OptionalConfigFile = None,
    data: DataPath = None,
    teacher_url: TeacherUrl = None,
    n: Calls = None,
    student: Network = None,
    overrides: Overrides = None,
    max_calls: MaxCalls = None,
    yes: Yes = False,
    everything: All = False,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Plan, buy what is not cached, train and evaluate; `budget.rounds` sets the rounds. After a kill, it resumes.

    Without a file, --data, --teacher-url and --n say what the run is. The images need no labels.
    """
    from distill_worker.cli.actions import training
    from distill_worker.cli.stated_run import StatedRun

    training.run(
        StatedRun(config_file, overrides or (), data, teacher_url, n, student),
        max_calls=max_calls,
        yes=yes,
        everything=everything,
        fresh=fresh,
        as_json=as_json,
    )
