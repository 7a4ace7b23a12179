"""What holds while a call from Python buys or trains."""

from pathlib import Path

import pytest
import torch

from distill_worker.api.stated import absolute_cache, carried_out, config_of, stated_teacher
from distill_worker.cli.console import notes, say
from distill_worker.data.pictures.display import DISPLAY
from distill_worker.errors import ConfigError
from distill_worker.runs.purchase import api_key


def test_everything_is_as_before_afterwards() -> None:
    """Also if the call fails: display, API key, silence, and the threads of torch."""
    display, threads = DISPLAY.get(), torch.get_num_threads()

    def fail() -> None:
        with carried_out("buy()", quiet=True, api_key="key"):
            assert (DISPLAY.get().say, api_key(), notes.quiet) == (say, "key", True)
            torch.set_num_threads(threads + 1)
            raise ConfigError("no")

    with pytest.raises(ConfigError):
        fail()
    assert (DISPLAY.get(), api_key(), notes.quiet, torch.get_num_threads()) == (display, None, False, threads)


def test_several_processes_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would buy."""
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    with (
        pytest.raises(ConfigError, match=r"buy\(\): expected one process"),
        carried_out("buy()", quiet=True, api_key=None),
    ):
        pass


def test_places_start_at_the_working_directory(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of folders above are not searched, as they are for a file of a run."""
    monkeypatch.setenv("PLACE", "deep")
    assert absolute_cache("bought.sqlite") == here / "bought.sqlite"
    assert absolute_cache(Path("a/b.sqlite")) == here / "a/b.sqlite"
    assert absolute_cache("$PLACE/b.sqlite") == here / "deep/b.sqlite"
    assert absolute_cache("postgresql://me:secret@host/name") == "postgresql://me:secret@host/name"


def test_document_of_the_caller_stays_as_it_is() -> None:
    document = {"data": {"name": "digits"}, "student": {"network": "resnet8"}, "method": {"name": "kd"}}
    config = config_of(document, call="distill()")
    assert config.output.cache == Path.cwd() / "runs/cache.sqlite"
    assert document == {"data": {"name": "digits"}, "student": {"network": "resnet8"}, "method": {"name": "kd"}}
    with pytest.raises(ConfigError, match=r"distill\(\): data.name: required, but absent; data.nam: unknown"):
        config_of({**document, "data": {"nam": "digits"}}, call="distill()")


def test_setting_of_the_teacher_is_stated_once() -> None:
    assert stated_teacher("http://a", {"url": "http://a"}, 0.1) == {"url": "http://a", "price_per_call": 0.1}
    with pytest.raises(ConfigError, match=r"price_per_call: expected it once, got 0\.1 and 0\.2 in teacher"):
        stated_teacher(None, {"price_per_call": 0.2}, 0.1)
