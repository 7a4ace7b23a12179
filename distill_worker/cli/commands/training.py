"""The commands that train one student: `train` on cached outputs, `run` on outputs that it buys first."""

from typing import Annotated

import typer

from distill_worker.cli.options import All, AsJson, ConfigFile, Fresh, MaxCalls, Overrides, Yes


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
    from distill_worker.cli import training

    training.train(config_file, overrides or (), teacher_id=teacher_id, held=held, fresh=fresh, as_json=as_json)


def run(
    config_file: ConfigFile,
    overrides: Overrides = None,
    max_calls: MaxCalls = None,
    yes: Yes = False,
    everything: All = False,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Plan, buy what is not cached, train and evaluate; `budget.rounds` sets the rounds. After a kill, it resumes."""
    from distill_worker.cli import training

    training.run(
        config_file,
        overrides or (),
        max_calls=max_calls,
        yes=yes,
        everything=everything,
        fresh=fresh,
        as_json=as_json,
    )
