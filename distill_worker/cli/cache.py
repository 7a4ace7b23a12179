"""The commands of `distill-worker cache`: show, verify and share bought outputs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from distill_worker.cache import Cache
from distill_worker.cache.database.engine import place_of
from distill_worker.cache.exchange.export_import import export as export_file
from distill_worker.cache.exchange.export_import import import_file
from distill_worker.cache.summary import summarise
from distill_worker.cache.verify import verify as verify_cache
from distill_worker.cli.console import progress_bar, say
from distill_worker.cli.options import AsJson, expanded_path
from distill_worker.cli.tables_buying import show_damages, show_summary
from distill_worker.config.load import load_config
from distill_worker.errors import CacheError, CheckFailed, ConfigError, counted
from distill_worker.runs.samples import Samples

app = typer.Typer(no_args_is_help=True, help="Show, verify and share bought outputs. Spends nothing.")

Place = Annotated[str, typer.Argument(metavar="CACHE", help="A SQLite file, or the URL of a PostgreSQL database.")]
DEFAULT = "runs/cache.sqlite"


@app.command()
def stats(cache: Place = DEFAULT, as_json: AsJson = False) -> None:
    """Count the cached samples by teacher and kind of output, and the purchases by status."""
    with _opened(cache) as opened:
        summary = summarise(opened)
    if as_json:
        print(json.dumps(summary.facts()))
    else:
        show_summary(summary)


@app.command()
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
    dataset_keys = None
    if config_file is not None:
        dataset_keys = Samples.of(load_config(config_file, on_note=say)).images_by_key().keys()
    with _opened(cache) as opened, progress_bar("verifying") as move:
        result = verify_cache(
            opened, dataset_keys=dataset_keys, repair=repair, progress=lambda done, blocks: move(done, "blocks", blocks)
        )
    if as_json:
        print(json.dumps(result.facts()))
    else:
        show_damages(result)
        damaged = sum(damage.rows for damage in result.damages)
        print(f"whole: {counted(result.outputs, 'output')}; damaged: {damaged}")
        if dataset_keys is not None:
            print(f"not in the data set: {result.strangers}")
        if repair:
            print(f"set aside: {result.repaired}")
    if result.damages and not repair:
        raise CheckFailed(f"{opened.place}: outputs are damaged; set them aside with --repair, then fetch them again")


@app.command("export")
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
    with _opened(cache) as opened:
        print(f"{counted(export_file(opened, file, teacher_id=teacher_id, kind=kind), 'output')} exported to {file}")
        if unread := summarise(opened).samples_unread:
            say(f"not exported: paid answers of {counted(unread, 'sample')}, which cannot be read; see plan")


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(parser=expanded_path, metavar="FILE", help="A file that `cache export` wrote.")
    ],
    cache: Annotated[str, typer.Option(metavar="CACHE", help="The cache to add to; created if absent.")] = DEFAULT,
) -> None:
    """Add outputs that others bought; cached outputs stay as they are."""
    if not file.is_file():
        raise CacheError(f"{file}: expected a file that `distill-worker cache export` wrote, got none")
    with Cache(_place(cache)) as opened:
        added, read = import_file(opened, file)
        print(f"{added} of {counted(read, 'output')} added to {opened.place}")


def _opened(cache: str) -> Cache:
    """An existing cache; a command that only reads creates none."""
    return Cache(_place(cache), if_absent="error")


def _place(cache: str) -> Path | str:
    try:
        place = place_of(cache)
    except CacheError as error:
        raise ConfigError(str(error)) from error
    return expanded_path(cache) if isinstance(place, Path) else place
