"""The commands that show a price, spend it, and check the bill: `plan`, `fetch`, `reconcile`."""

from typing import Annotated

import typer

from distill_worker.cli.examples import examples
from distill_worker.cli.options import (
    Abandon,
    All,
    AsJson,
    Calls,
    ConfigFile,
    DataPath,
    MaxCalls,
    Network,
    OptionalConfigFile,
    Overrides,
    TeacherUrl,
    Yes,
)


@examples(
    "distill-worker plan run.toml",
    "distill-worker plan --data photos/ --teacher-url https://teacher.example.org --n 500 --json",
)
def plan(
    config_file: OptionalConfigFile = None,
    data: DataPath = None,
    teacher_url: TeacherUrl = None,
    n: Calls = None,
    student: Network = None,
    overrides: Overrides = None,
    max_calls: MaxCalls = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would cost in calls, money and time; spend nothing.

    It ends with the exit status that the purchase would end with, such as 5 if the quota cannot pay.
    If the teacher cannot be reached, it shows what is wanted and cached, and ends with status 4.
    """
    from distill_worker.cli.actions import buying
    from distill_worker.cli.stated_run import StatedRun

    stated = StatedRun(config_file, overrides or (), data, teacher_url, n, student)
    buying.plan(stated, max_calls=max_calls, as_json=as_json)


@examples("distill-worker fetch run.toml", "distill-worker fetch run.toml --max-calls 100")
def fetch(
    config_file: OptionalConfigFile = None,
    data: DataPath = None,
    teacher_url: TeacherUrl = None,
    n: Calls = None,
    student: Network = None,
    overrides: Overrides = None,
    max_calls: MaxCalls = None,
    yes: Yes = False,
    everything: All = False,
    abandon: Abandon = None,
    as_json: AsJson = False,
) -> None:
    """Buy what is not cached. After an interrupt or a kill, the same command resumes and pays for nothing twice.

    It buys `budget.n` samples. If budget.n is not set, it needs --max-calls or --all. On a terminal, it shows the
    price and waits for a yes. Without a terminal, it needs --yes or --max-calls if calls have a price
    (teacher.price_per_call), or if budget.n is not set. In rounds, it buys the samples that are chosen so far; `run`
    trains the students that choose the others.
    """
    from distill_worker.cli.actions import buying
    from distill_worker.cli.stated_run import StatedRun

    buying.fetch(
        StatedRun(config_file, overrides or (), data, teacher_url, n, student),
        max_calls=max_calls,
        yes=yes,
        everything=everything,
        abandon=abandon,
        as_json=as_json,
    )


@examples("distill-worker reconcile run.toml", "distill-worker reconcile run.toml --shared-key --json")
def reconcile(
    config_file: ConfigFile,
    overrides: Overrides = None,
    shared_key: Annotated[
        bool,
        typer.Option("--shared-key", help="Others use this API key too: queries from elsewhere are no difference."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare each purchase in the cache with what the teacher charged; spend nothing.

    If the teacher has no query log that can be read, its counter is compared. Exit status 6 if anything differs.
    """
    from distill_worker.cli.actions import buying

    buying.reconcile(config_file, overrides or (), shared_key=shared_key, as_json=as_json)
