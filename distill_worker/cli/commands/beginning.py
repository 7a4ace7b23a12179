"""The commands to begin with: `init` writes the file of a run, `doctor` checks it."""

from pathlib import Path
from typing import Annotated

import typer

from distill_worker.cli.examples import examples
from distill_worker.cli.options import (
    AsJson,
    Calls,
    DataPath,
    Network,
    OptionalConfigFile,
    Overrides,
    TeacherUrl,
    expanded_path,
)


@examples(
    "distill-worker init",
    "distill-worker init --data photos/ --teacher-url https://teacher.example.org --n 500 -o run.toml",
)
def init(
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|NAME",
            help="Your data: a folder, list or file, as for run; or the name of a public data set, see datasets.",
        ),
    ] = None,
    teacher_url: Annotated[str | None, typer.Option(metavar="URL", help="Where the teacher is.")] = None,
    student: Annotated[
        str | None,
        typer.Option(metavar="NETWORK", help="The network to train, see networks; by default one that fits."),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", min=2, help="How many samples to buy, one call each.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", parser=expanded_path, metavar="FILE", help="The file to write.")
    ] = Path("run.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write the file of a run, with a comment for each key. Spends nothing.

    On a terminal, it asks for what the options leave open: the data, the teacher, the student, the number of calls. It
    looks at the data, and reads from the teacher which classes and outputs it has, and how many calls remain. A teacher
    that cannot be reached is no error: the file is written without its answers.
    """
    from distill_worker.cli.actions.init import init

    init(data, teacher_url, student, n, output, force=force)


@examples(
    "distill-worker doctor run.toml",
    "distill-worker doctor --data photos/ --teacher-url https://teacher.example.org --n 500",
    "distill-worker doctor",
)
def doctor(
    config_file: OptionalConfigFile = None,
    data: DataPath = None,
    teacher_url: TeacherUrl = None,
    n: Calls = None,
    student: Network = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check all that a run needs on this machine and of its teacher, and say what to do about each fault.

    It checks Python, PyTorch, the file, the data, the network, the folders, the disks, the cache, the way to the
    teacher, the API key, the quota, the classes, and more (docs/doctor.md). It goes on after a fault. It spends no
    call. Exit status 6 if there is a fault. Without a run, it checks this machine alone.
    """
    from distill_worker.cli.actions.doctor import doctor

    doctor(
        config_file,
        overrides or (),
        data=data,
        teacher_url=teacher_url,
        n=n,
        student=student,
        as_json=as_json,
    )
