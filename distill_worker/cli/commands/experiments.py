"""The commands that train many students, such as `compare` and `sweep`, and `report`, the page of any experiment."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from distill_worker.cli.examples import examples
from distill_worker.cli.options import AsJson, Fresh, MaxCalls, Overrides, TrustCode, Yes, expanded_path


class Engine(StrEnum):
    """The values of `--engine`."""

    LOCAL = "local"
    RAY = "ray"


EngineOption = Annotated[
    Engine | None,
    typer.Option(help="What trains the students: processes of this machine, or Ray (extra ray); overrides the file."),
]
Address = Annotated[
    str | None,
    typer.Option(help="The Ray cluster to join, such as auto; by default one is started on this machine."),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="The most students trained at the same time; overrides the file. By default one a core, or a GPU.",
    ),
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")]


@examples("distill-worker demo", "distill-worker demo --data fashion-mnist --seeds 1")
def demo(
    data: Annotated[
        str, typer.Option(help="The data set: digits, or fashion-mnist, which takes about 30 minutes.")
    ] = "digits",
    n: Annotated[
        int | None,
        typer.Option(
            min=2, help="Samples that each student learns from; by default 50 for digits, 500 for fashion-mnist."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Students trained with each method.")] = 3,
    quota: Annotated[
        int | None,
        typer.Option(min=0, help="Quota of the API key, which the first demo creates; by default what it needs."),
    ] = None,
    directory: Annotated[
        Path, typer.Option(parser=expanded_path, metavar="FOLDER", help="Folder for all files of the demo.")
    ] = Path("runs/demo"),
    as_json: AsJson = False,
) -> None:
    """Train a teacher, serve it behind a quota, buy n outputs, and compare students: CE, KD, CKD and auto.

    Each student of `auto` selects half of its n samples, so the demo pays for (1.5 + seeds) n calls at most.

    A second demo uses the teacher and the cached outputs of the first, and pays for nothing.
    """
    from distill_worker.cli.actions import experiments

    experiments.demo(data, n=n, seeds=seeds, quota=quota, directory=directory, as_json=as_json)


@examples(
    "distill-worker compare examples/compare-digits.toml", "distill-worker compare comparison.toml --jobs 4 --markdown"
)
def compare(
    comparison_file: Annotated[
        Path,
        typer.Argument(
            metavar="COMPARISON.toml", parser=expanded_path, help="What to compare; see examples/compare-digits.toml."
        ),
    ],
    engine: EngineOption = None,
    address: Address = None,
    jobs: Jobs = None,
    max_calls: MaxCalls = None,
    yes: Yes = False,
    fresh: Fresh = False,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
) -> None:
    """Train many methods on the same bought samples, over several n and seeds; print the table with paired tests.

    The price of all samples is shown before the first is bought, and agreed to as with `fetch`; the outputs of a
    teacher that the comparison trains and serves itself cost nothing, unless teacher.price_per_call is set. Each
    student has a run directory of its own: after a kill, the same command resumes and pays for nothing twice.
    """
    from distill_worker.cli.actions import experiments

    experiments.compare(
        comparison_file,
        {"engine": engine, "address": address, "jobs": jobs},
        max_calls=max_calls,
        yes=yes,
        fresh=fresh,
        as_markdown=as_markdown,
        as_json=as_json,
    )


@examples("distill-worker sweep k-sweep --quick", "distill-worker sweep sweep.toml --status")
def sweep(
    sweep_file: Annotated[
        str, typer.Argument(metavar="SWEEP.toml|PRESET", help="What to sweep: a file, or a preset of docs/sweeps.md.")
    ],
    status: Annotated[
        bool, typer.Option("--status", help="Print how far the sweep is. This trains, buys and writes nothing.")
    ] = False,
    extend: Annotated[
        bool,
        typer.Option("--extend", help="Let the folder hold another grid: keep its results, and train what is new."),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small version, as [sweep.quick] in the file says, to try it out.")
    ] = False,
    engine: EngineOption = None,
    address: Address = None,
    jobs: Jobs = None,
    yes: Yes = False,
    as_markdown: AsMarkdown = False,
    as_json: AsJson = False,
) -> None:
    """Compare methods at every point of a grid, such as data sets x networks, with one plan and one price.

    Several processes, or machines on one file system, may run the same sweep: each trains the students that no other
    one trains, and outputs are bought once. After a kill, the same command resumes and pays for nothing twice. The
    results of all students are in results.csv, in results.parquet with the extra parquet, and on a page, report.html.
    """
    from distill_worker.cli.actions import experiments

    overrides = {"engine": engine, "address": address, "jobs": jobs}
    if status:
        experiments.sweep_status(sweep_file, quick=quick, as_json=as_json)
    else:
        experiments.sweep(
            sweep_file, overrides, extend=extend, quick=quick, yes=yes, as_markdown=as_markdown, as_json=as_json
        )


@examples(
    "distill-worker report runs/digits-ckd",
    "distill-worker report runs/demo/digits/comparison.json -o demo.html --figures figures",
    "distill-worker report runs/sweep/k-sweep",
    "distill-worker report runs/digits-ckd --format csv",
)
def report(
    place: Annotated[
        Path,
        typer.Argument(
            parser=expanded_path,
            metavar="PATH",
            help="The directory of a finished run or of a sweep, or the JSON that compare --json or demo --json "
            "printed.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=expanded_path,
            metavar="FILE",
            help="The file to write, which is replaced. By default report.html in the directory, or FILE.html "
            "beside FILE.json; Markdown and CSV are printed.",
        ),
    ] = None,
    file_format: Annotated[
        Literal["html", "markdown", "csv"],
        typer.Option("--format", help="html: the page. markdown: its tables. csv: every value, in full precision."),
    ] = "html",
    figures: Annotated[
        Path | None,
        typer.Option(parser=expanded_path, metavar="FOLDER", help="Also write each chart there, as SVG and as PNG."),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(help="Of a run: its cache; by default the cache.sqlite above the directory."),
    ] = None,
    root: Annotated[
        Path, typer.Option(parser=expanded_path, metavar="FOLDER", help="Of a run: the folder of the data sets.")
    ] = Path("data"),
    path: Annotated[
        Path | None,
        typer.Option(parser=expanded_path, metavar="PATH", help="Of a run: file or folder of your own data."),
    ] = None,
    trust_code: TrustCode = False,
) -> None:
    """Write one HTML page on a run, sweep or comparison, which needs neither a network nor a script.

    run, train, compare, sweep and demo end by writing it. That of a sweep may
    be written before the sweep is finished. For a run without analysis.json,
    the student is analysed first, as by analyse. No call is spent, and no
    teacher is contacted.
    """
    from distill_worker.cli.actions import experiments

    experiments.report(
        place,
        output,
        figures,
        file_format=file_format,
        cache=cache,
        root=root,
        path=path,
        trust_code=trust_code,
    )


@examples(
    "distill-worker forecast examples/digits.toml --accuracy 0.95",
    "distill-worker forecast runs/demo/digits/comparison.json --method KD --n 200",
)
def forecast(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            parser=expanded_path,
            help="The file of a run, such as examples/digits.toml; or a .json file with what compare --json printed.",
        ),
    ],
    n: Annotated[
        int | None,
        typer.Option(min=2, help="Forecast the accuracy with so many calls: at most 4 times those bought."),
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Forecast how many more calls this test accuracy needs, such as 0.86."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="The label of the row, if FILE has several.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Students of each size; by default 3. A .json file has its own.")
    ] = None,
    overrides: Overrides = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Say what more calls would give, or how many a wanted accuracy needs. It spends none.

    The run's method is trained on 1/8, 1/4, 1/2 and all of the samples that are bought. A curve through the results
    is extended, with a band. Without --n and --accuracy, it goes to 2 and 4 times what is bought.
    """
    from distill_worker.cli.actions import experiments

    experiments.forecast(
        file,
        overrides or (),
        n=n,
        accuracy=accuracy,
        method=method,
        seeds=seeds,
        fresh=fresh,
        as_json=as_json,
    )
