"""Whatever the password and the form of the URL, nothing that is shown has a part of the password."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from distill_worker.cache import Cache
from distill_worker.config.load import parse_config
from distill_worker.errors import WorkerError
from shared.durable.database_url import shown_url, without_secrets
from shared.durable.engine import url_fault
from teacher_service.cli.console import read_settings
from teacher_service.database.engine import LedgerUnusable, explained, open_database

PART = 4
FORMS = (
    "postgresql://user:{}@host:5432/name",
    "postgresql://user:{}@host/name?sslmode=require",
    "postgresql://user:{}@host",
    "postgresql://user:{}@/name?host=/run/postgresql",
    "postgresql://user:{}@[::1]:5432/name",
    "postgresql://{}@host/name",
    "postgresql://us@er:{}@host/name",
    "postgresql://user:{}",
    "postgresql://host/name?user=user&password={}",
    "postgresql+psycopg://user:{}@host/name",
    "postgresql:/user:{}@host/name",
    "postgresql:user:{}@host/name",
    "postgres://user:{}@host/name",
    "mysql://user:{}@host/name",
    "user:{}://host/name",
    "user:{}@host/name",
    "postgresql//user:{}@host/name",
    "ftp://user:{}@host/",
    " postgresql://user:{}@host/name",
)
PASSWORDS = st.text("ABCDEFGHJKÄ€" + "@/#?%:&=+[]., \\\"'", min_size=PART, max_size=16)
"""In letters that no message and no form has."""
URLS = st.tuples(PASSWORDS, st.sampled_from(FORMS), st.booleans())


def _url(drawn: tuple[str, str, bool]) -> str:
    password, form, is_escaped = drawn
    return form.format(quote(password, safe="") if is_escaped else password)


def _parts(password: str) -> set[str]:
    texts = (password, quote(password, safe=""))
    parts = {text[start : start + PART] for text in texts for start in range(len(text) - PART + 1)}
    return {part for part in parts if any(letter in "ABCDEFGHJKÄ€" for letter in part)}


def _assert_hidden(password: str, text: str) -> None:
    assert not [part for part in _parts(password) if part in text], text


@given(URLS)
def test_shown_url_and_its_fault_have_no_part_of_the_password(drawn: tuple[str, str, bool]) -> None:
    url = _url(drawn)
    _assert_hidden(drawn[0], shown_url(url))
    _assert_hidden(drawn[0], url_fault(url) or "")


@given(URLS)
def test_url_without_fault_gives_a_driver_no_part_of_the_password_as_another_value(
    drawn: tuple[str, str, bool],
) -> None:
    """A driver names the host, the port and the database in its messages."""
    password, form, _ = drawn
    url = _url(drawn)
    if form.startswith(("postgresql://", "postgresql+psycopg://")) and "user:" in form and url_fault(url) is None:
        parsed = make_url(url)
        _assert_hidden(password, f"{parsed.host} {parsed.port} {parsed.database}")


@given(URLS, st.data())
def test_message_of_a_driver_is_shown_without_any_part_of_the_password(
    drawn: tuple[str, str, bool], data: st.DataObject
) -> None:
    password = drawn[0]
    start = data.draw(st.integers(0, len(password) - PART))
    part = password[start : data.draw(st.integers(start + PART, len(password)))]
    text = without_secrets(f'cannot resolve "{part}": no such place', _url(drawn))
    _assert_hidden(password, text)


@given(URLS)
def test_worker_shows_no_part_of_the_password_of_a_cache(drawn: tuple[str, str, bool]) -> None:
    """Neither where the configuration is read, nor where the cache is opened."""
    url = _url(drawn)
    document = {"data": {"name": "digits"}, "student": {"network": "resnet8"}, "method": {"name": "kd"}}
    try:
        config = parse_config({**document, "output": {"cache": url}}, source="run.toml")
    except WorkerError as error:
        _assert_hidden(drawn[0], str(error))
        return
    assert config.output.cache == url


@given(URLS, st.sampled_from(["output", "data", "cahce", "plus"]))
def test_worker_shows_no_part_of_the_password_wherever_the_url_stands(drawn: tuple[str, str, bool], place: str) -> None:
    """In the place of a section, under a key that does not exist, and in a document that is wrong as a whole."""
    url = _url(drawn)
    plus = [{"name": "ce", "label_weight": 0.5}]
    document: dict[str, Any] = {"student": {"network": "resnet8"}, "method": {"name": "kd"}, "data": {"name": "digits"}}
    wrong: dict[str, Any] = {"output": {"cache": url}, "plus": plus} if place == "plus" else {place: url}
    with pytest.raises(WorkerError) as error:
        parse_config({**document, **wrong}, source="run.toml")
    _assert_hidden(drawn[0], str(error.value))


@given(URLS)
def test_worker_shows_no_part_of_the_password_of_a_teacher(drawn: tuple[str, str, bool]) -> None:
    with pytest.raises(WorkerError) as error:
        parse_config(
            {
                "data": {"name": "digits"},
                "student": {"network": "resnet8"},
                "method": {"name": "kd"},
                "teacher": {"url": _url(drawn)},
            },
            source="run.toml",
        )
    _assert_hidden(drawn[0], str(error.value))


@given(URLS)
def test_service_shows_no_part_of_the_password_of_a_ledger(drawn: tuple[str, str, bool]) -> None:
    url = _url(drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEACHER_DATABASE_URL", url)
        messages: list[str] = []
        patch.setattr("teacher_service.cli.console.print", lambda text, **_: messages.append(text), raising=False)
        try:
            assert read_settings().database_url == url
        except BaseException as error:
            assert len(messages) == 1
            _assert_hidden(drawn[0], f"{messages[0]} {error} {error.__context__}")


@pytest.mark.parametrize("password", ["p@SECRET/word", "p#SECRET", "p?SECRET", "SEC%RET", "p/SECRET@", "SECRET:x"])
def test_server_that_cannot_be_reached_is_named_without_the_password(password: str) -> None:
    """As SQLAlchemy and the driver really report it."""
    url = f"postgresql://user:{password}@127.0.0.1:1/name"
    with pytest.raises(WorkerError) as worker:
        Cache(url)
    messages = str(worker.value)
    if url_fault(url) is None:
        with pytest.raises(LedgerUnusable) as service, explained(url):
            open_database(url)
        messages += str(service.value)
    for part in _parts(password):
        assert part not in messages


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:sesame@host:5432/name", "postgresql://***@host:5432/name"),
        ("postgresql://user:s%40me@host/name?sslmode=require", "postgresql://***@host/name"),
        ("postgresql://host/name", "postgresql://host/name"),
        ("postgresql://user:se@me@host/name", "postgresql://***"),
        ("postgresql://user:12/ab?c@host/name", "postgresql://***"),
        ("sqlite:///folder/ledger.sqlite", "sqlite:///folder/ledger.sqlite"),
        ("sesame", "***"),
    ],
)
def test_what_cannot_be_a_secret_is_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_unescaped_at_sign_is_explained_with_the_remedy() -> None:
    assert "@ as %40" in (url_fault("postgresql://user:se@me@host/name") or "")
    assert url_fault("postgresql://user:se%40me@host/name") is None


def test_texts_of_a_message_that_are_no_secret_stay() -> None:
    text = 'connection to server at "127.0.0.1", port 1 failed: Connection refused'
    assert without_secrets(text, "postgresql://user:sesame@127.0.0.1:1/name") == text
