"""The cache of bought outputs: that it can be read and written, and what is in it."""

from collections.abc import Iterator
from typing import Final

from distill_worker.cache import Cache
from distill_worker.cache.database.schema_version import HEAD, CacheTooNew
from distill_worker.cache.summary import summarise
from distill_worker.cli.doctor.finding import Finding
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import CacheError, counted
from distill_worker.runs.preflight.remedies import REMEDIES

_FILE: Final = "cache-file"
_WRITABLE: Final = "cache"
FILE_REMEDY: Final = (
    "restore a copy of the cache, or set output.cache to another file; do not delete it, for what is in it was paid for"
)
VERSION_REMEDY: Final = "install the version of Tuition that wrote the cache, or a later one"


def check_cache(config: RunConfig) -> Iterator[Finding]:
    """Check the cache. One that is absent stays absent."""
    try:
        with Cache(config.output.cache, if_absent="empty") as cache:
            if cache.is_absent:
                yield Finding.ok(_FILE, f"{cache.place} is not there yet; the first purchase makes it")
            else:
                summary = summarise(cache)
                outputs = counted(sum(stream.samples for stream in summary.streams), "output")
                yield Finding.ok(_FILE, f"{cache.place} can be read: version {HEAD} of the tables, {outputs}")
            try:
                cache.check_purchase()
            except CacheError as error:
                yield Finding.fault(_WRITABLE, error, REMEDIES[_WRITABLE])
    except CacheError as error:
        is_too_new = isinstance(error.__cause__, CacheTooNew)
        yield Finding.fault(_FILE, error, VERSION_REMEDY if is_too_new else FILE_REMEDY)
