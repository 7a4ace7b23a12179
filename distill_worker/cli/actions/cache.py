"""What the commands of `distill-worker cache` do: show, verify and share bought outputs."""

import json
from collections.abc import Collection
from pathlib import Path

from distill_worker.cache import Cache
from distill_worker.cache.database.engine import place_of
from distill_worker.cache.exchange.export_import import export as export_file
from distill_worker.cache.exchange.export_import import import_file
from distill_worker.cache.summary import summarise
from distill_worker.cache.verify import verify as verify_cache
from distill_worker.cli.console import progress_bar, say
from distill_worker.cli.options import expanded_path
from distill_worker.cli.tables.cache import show_damages, show_summary
from distill_worker.errors import CacheError, CheckFailed, ConfigError, counted


def stats(cache: str, *, as_json: bool) -> None:
    """Count the cached samples by teacher and kind of output, and the purchases by status."""
    with _opened(cache) as opened:
        summary = summarise(opened)
    if as_json:
        print(json.dumps(summary.facts()))
    else:
        show_summary(summary)


def verify(cache: str, config_file: Path | None, *, repair: bool, as_json: bool) -> None:
    """Verify every output of a cache. Raises `CheckFailed` if anything is damaged and was not set aside."""
    dataset_keys = None if config_file is None else _keys_of_dataset(config_file)
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


def export_to(file: Path, cache: str, *, teacher_id: str | None, kind: str | None) -> None:
    """Write bought outputs to a file that others can import."""
    with _opened(cache) as opened:
        print(f"{counted(export_file(opened, file, teacher_id=teacher_id, kind=kind), 'output')} exported to {file}")
        if unread := summarise(opened).samples_unread:
            say(f"not exported: paid answers of {counted(unread, 'sample')}, which cannot be read; see plan")


def import_from(file: Path, cache: str) -> None:
    """Add outputs that others bought; the cache is created if it is absent."""
    if not file.is_file():
        raise CacheError(f"{file}: expected a file that `distill-worker cache export` wrote, got none")
    with Cache(_place(cache)) as opened:
        added, read = import_file(opened, file)
        print(f"{added} of {counted(read, 'output')} added to {opened.place}")


def _keys_of_dataset(config_file: Path) -> Collection[bytes]:
    """The sample keys of a run's data set; only this needs what reads data sets, which takes seconds to import."""
    from distill_worker.config.load import load_config
    from distill_worker.runs.resolution import resolved, with_facts_of_teacher
    from distill_worker.runs.sampling.samples import Samples

    config = resolved(with_facts_of_teacher(load_config(config_file, on_note=say), asks=False))
    return Samples.of(config).images_by_key().keys()


def _opened(cache: str) -> Cache:
    """An existing cache; a command that only reads creates none."""
    return Cache(_place(cache), if_absent="error")


def _place(cache: str) -> Path | str:
    try:
        place = place_of(cache)
    except CacheError as error:
        raise ConfigError(str(error)) from error
    return expanded_path(cache) if isinstance(place, Path) else place
