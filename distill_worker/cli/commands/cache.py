"""The commands of `distill-worker cache`: show, verify and share bought outputs."""

from pathlib import Path
from typing import Annotated

import typer

from distill_worker.cli.examples import ending, examples
from distill_worker.cli.options import AsJson, expanded_path

app = typer.Typer(
    no_args_is_help=True,
    help="Show, verify and share bought outputs. Spends nothing.",
    epilog=ending("distill-worker cache stats", "distill-worker cache export bought.parquet"),
)

Place = Annotated[str, typer.Argument(metavar="CACHE", help="A SQLite file, or the URL of a PostgreSQL database.")]
DEFAULT = "runs/cache.sqlite"


@app.command()
@examples("distill-worker cache stats", "distill-worker cache stats runs/cache.sqlite --json")
def stats(cache: Place = DEFAULT, as_json: AsJson = False) -> None:
    """Count the cached samples by teacher and kind of output, and the purchases by status."""
    from distill_worker.cli.actions.cache import stats

    stats(cache, as_json=as_json)


@app.command()
@examples("distill-worker cache verify", "distill-worker cache verify runs/cache.sqlite --config run.toml --repair")
def verify(
    cache: Place = DEFAULT,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="CONFIG.toml",
            parser=expanded_path,
            help="Also count outputs whose sample is not in this run's data set.",
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Set damaged outputs aside, so that fetch buys them again; delete nothing."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Verify every output: length, finite values, checksum; and that every paid purchase has its outputs.

    Exit status 6 if anything is damaged and was not set aside.
    """
    from distill_worker.cli.actions.cache import verify

    verify(cache, config_file, repair=repair, as_json=as_json)


@app.command("export")
@examples("distill-worker cache export bought.parquet", "distill-worker cache export logits.safetensors --kind logits")
def export_(
    file: Annotated[
        Path,
        typer.Argument(
            parser=expanded_path, metavar="FILE", help="The file to write, .safetensors or .parquet; it must not exist."
        ),
    ],
    cache: Annotated[str, typer.Option(metavar="CACHE", help="The cache to export.")] = DEFAULT,
    teacher_id: Annotated[str | None, typer.Option(help="Export only outputs of this teacher.")] = None,
    kind: Annotated[str | None, typer.Option(help="Export only this kind of output, for example logits.")] = None,
) -> None:
    """Write bought outputs to a file that others can import; the file does not name the account that paid."""
    from distill_worker.cli.actions.cache import export_to

    export_to(file, cache, teacher_id=teacher_id, kind=kind)


@app.command("import")
@examples(
    "distill-worker cache import bought.parquet", "distill-worker cache import bought.parquet --cache runs/cache.sqlite"
)
def import_(
    file: Annotated[
        Path, typer.Argument(parser=expanded_path, metavar="FILE", help="A file that `cache export` wrote.")
    ],
    cache: Annotated[str, typer.Option(metavar="CACHE", help="The cache to add to; created if absent.")] = DEFAULT,
) -> None:
    """Add outputs that others bought; cached outputs stay as they are."""
    from distill_worker.cli.actions.cache import import_from

    import_from(file, cache)
