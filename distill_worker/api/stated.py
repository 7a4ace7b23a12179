"""A run as Python states it: the document of a TOML file, without a file, and what is shown while it is carried out."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from distill_worker.cli.console import progress_bar, say, silence
from distill_worker.config.load import DEFAULT_PLACES, parse_config, place, with_notes
from distill_worker.config.places import expanded, working_directory
from distill_worker.config.run_config import RunConfig, cache_place
from distill_worker.data.pictures.display import DISPLAY, Display
from distill_worker.errors import ConfigError
from distill_worker.runs.purchase import given_api_key
from distill_worker.training.ranks.launch import check_alone

DEFAULT_CACHE: Final = "runs/cache.sqlite"

Document = dict[str, Any]


def config_of(document: Mapping[str, Any], *, call: str) -> RunConfig:
    """The run of a document. Raises `ConfigError`, which names the call."""
    stated = {name: dict(value) if isinstance(value, Mapping) else value for name, value in document.items()}
    notes = place(stated, Path(call), DEFAULT_PLACES)
    return with_notes(notes, parse_config(stated, source=call), say)


def absolute_cache(cache: str | os.PathLike[str]) -> Path | str:
    """The file, or the URL of a PostgreSQL database. Raises `ConfigError`."""
    try:
        stated = cache_place(cache if isinstance(cache, str) else Path(cache))
    except ValueError as error:
        raise ConfigError(f"cache: {error}") from error
    return stated if isinstance(stated, str) and "://" in stated else absolute(os.fspath(cache))


def absolute(path: str | os.PathLike[str]) -> Path:
    """A path below the working directory, with `~` and variables expanded. Raises `ConfigError`."""
    return (working_directory() / expanded(os.fspath(path))).absolute()


def stated_teacher(url: str | None, teacher: Mapping[str, Any] | None, price_per_call: float | None) -> dict[str, Any]:
    """The section `[teacher]`.

    Raises:
        ConfigError: a setting is given twice.
    """
    section = dict(teacher or {})
    for name, value in (("url", url), ("price_per_call", price_per_call)):
        if value is not None and section.setdefault(name, value) != value:
            raise ConfigError(f"{name}: expected it once, got {value!r} and {section[name]!r} in teacher")
    return section


def check_address(stated: Collection[str], *, n: int | None) -> None:
    """Check that the settings of a teacher name its address, and that n is stated. Raises `ConfigError`."""
    if "url" not in stated and not os.environ.get("TEACHER_URL", "").strip():
        raise ConfigError("url: expected the URL of the teacher, or TEACHER_URL in the environment, got neither")
    if n is None:
        raise ConfigError("n: expected how many samples to buy outputs for, got no value")


@contextmanager
def carried_out(call: str, *, quiet: bool, api_key: str | None) -> Iterator[None]:
    """What holds while a call buys or trains: where it shows notes and bars, and its API key.

    Afterwards, torch has as many threads as before.

    Raises:
        ConfigError: torchrun started several processes.
    """
    check_alone(call)
    threads, token = torch.get_num_threads(), DISPLAY.set(Display(say, progress_bar))
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, threads)
        stack.callback(DISPLAY.reset, token)
        stack.enter_context(silence(quiet=quiet))
        stack.enter_context(given_api_key(api_key))
        yield
