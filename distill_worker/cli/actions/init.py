"""What `init` does: look at the data, ask the teacher what it is, and write the file of a run."""

import os
import shlex
from pathlib import Path
from typing import Final

import typer

from distill_worker.buying.known_teachers import url_of
from distill_worker.cli.actions.agreed_purchase import is_terminal
from distill_worker.cli.console import say
from distill_worker.cli.contact import Contact
from distill_worker.cli.new_run.choices import LEAST_N, image_size_for, n_for, network_of
from distill_worker.cli.new_run.data_look import DataLook, look_at, section_of
from distill_worker.cli.new_run.file_text import NewRun, text_of
from distill_worker.config.data_sections import Data
from distill_worker.config.load import parse_config
from distill_worker.config.teacher_address import OpenInferenceAddress
from distill_worker.config.toml_file import parsed
from distill_worker.config.training_section import AUTO
from distill_worker.errors import ConfigError, WorkerError
from distill_worker.teachers.http_client import checked_url
from distill_worker.teachers.http_errors import public_url
from shared.atomic_file import write_atomically
from shared.networks import runs_code
from shared.networks.listing import weightless

_ROOT: Final = Path("data")


def init(
    data: str | None, teacher_url: str | None, student: str | None, n: int | None, output: Path, *, force: bool
) -> None:
    """Write the file of a run. Raises `ConfigError` if it exists, or something that is stated is wrong."""
    if output.exists() and not force:
        raise ConfigError(f"--output: expected a new file, got {output}, which exists; add --force to replace it")
    if data is None:
        if not is_terminal():
            raise ConfigError(
                "--data: expected your data or the name of a data set, got none, and no terminal to ask on"
            )
        data = _answer("your data: a folder, a list or a file, or a name of distill-worker datasets", "digits")
    section = section_of(data, root=_ROOT)
    look = _look(section)
    url = checked_url(_stated_url(teacher_url), "--teacher-url")
    address = OpenInferenceAddress(url=url)
    if (overriding := url_of(address)) != url:
        say(
            f"note: TEACHER_URL in the environment overrides the URL of the file: {public_url(overriding)} is contacted"
        )
    with Contact(address) as contact:
        _say_teacher(contact)
        image_size = image_size_for(look, contact)
        network = student or _ask("the network to train, see distill-worker networks", network_of(look, image_size))
        _check_network(network)
        calls = n or int(_ask("the number of samples to buy, one call each", str(n_for(look, contact)), is_number=True))
    stem = section.name if section.path is None else section.path.stem
    run = NewRun(section, image_size, network, _without_secrets(url), calls, f"runs/{stem}-{calls}")
    text = text_of(run, output)
    parse_config(parsed(text), source=str(output))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, text.encode())
    _print_next(output)


def _look(section: Data) -> DataLook | None:
    try:
        look = look_at(section)
    except WorkerError as error:
        say(f"note: the data cannot be read yet, and the file is written without a look at them: {error}")
        return None
    say(f"data: {look.in_words()}")
    return look


def _stated_url(stated: str | None) -> str:
    """The URL that the options or the environment state, or the answer of the user."""
    default = os.environ.get("TEACHER_URL", "").strip() or str(OpenInferenceAddress.model_fields["url"].default)
    return stated or _ask("the URL of the teacher", default)


def _without_secrets(url: str) -> str:
    """The URL as a file may hold it."""
    shown = public_url(url)
    if shown != url.rstrip("/"):
        say(f"note: {shown} is written, without user, password and query; set TEACHER_URL to the whole URL")
    return shown


def _say_teacher(contact: Contact) -> None:
    description, quota = contact.description, contact.quota
    if contact.teacher is None or description is None:
        for error in contact.wrong.values():
            say(f"note: the file is written without the teacher's answers: {error}")
        return
    outputs = ", ".join(description.outputs)
    calls = "states no quota" if quota is None else f"{quota.remaining} of {quota.limit} calls remain"
    say(f"teacher: {description.id}, {description.num_classes} classes, sells {outputs}; {calls}")


def _check_network(name: str) -> None:
    """Raise `ConfigError` if there is no such network. The code of a factory is not run."""
    if name == AUTO or runs_code(name):
        return
    try:
        weightless(name, num_classes=2, in_channels=3)
    except ValueError as error:
        raise ConfigError(f"--student: {error}") from error


def _ask(question: str, default: str, *, is_number: bool = False) -> str:
    """The user's answer; the default without a terminal."""
    return _answer(question, default, is_number=is_number) if is_terminal() else default


def _answer(question: str, default: str, *, is_number: bool = False) -> str:
    """Ask on standard error. The end of the input ends the command as any interrupt does."""
    try:
        return str(typer.prompt(question, default=default, err=True, value_proc=_number if is_number else None))
    except typer.Abort:
        raise KeyboardInterrupt from None


def _number(text: str) -> int:
    """The number of calls in an answer. Raises `typer.BadParameter`, and the question is put again."""
    if text.strip().isdecimal() and int(text) >= LEAST_N:
        return int(text)
    raise typer.BadParameter(f"expected a whole number of at least {LEAST_N}, got {text!r}")


def _print_next(output: Path) -> None:
    file = shlex.quote(str(output))
    print(f"{output} is written. Next:")
    if not any(os.environ.get(name, "").strip() for name in ("TEACHER_API_KEY", "TEACHER_API_KEY_FILE")):
        print("  export TEACHER_API_KEY=tk_...       # the key that the teacher's operator gave you")
    print(f"  distill-worker doctor {file}    # checks everything, spends nothing")
    print(f"  distill-worker plan {file}      # shows the price, spends nothing")
    print(f"  distill-worker run {file}       # buys, trains and evaluates")
