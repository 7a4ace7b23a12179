"""Every command of README.md and docs/ is run, or parsed by the real command line, or listed with a reason.

What happens to which command is one table: `RULES` in tests/docs/commands.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.exceptions import TyperException

from tests.docs.commands import NOT_RUN, PROGRAMS, RULES, Command, How, all_commands, parse
from tests.docs.pages import PAGES, ROOT, prose
from tests.docs.sandbox import Sandbox, untrained_teacher
from tests.end_to_end.processes import RunningService

COMMANDS = all_commands()
NEEDS_A_FINISHED_RUN = ("docs/analyses.md", "docs/export.md", "docs/report.md")
NEEDS_A_TEACHERS_WEIGHTS = ("docs/analyses.md",)


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No command of a page reaches the home folder of the user who tests."""
    monkeypatch.setenv("HOME", str(tmp_path))


def _name(command: Command) -> str:
    return f"{command.page}: {command.text}"


@pytest.mark.parametrize("command", COMMANDS, ids=_name)
def test_command_is_in_the_table_and_its_line_is_valid(command: Command) -> None:
    rule = command.rule
    assert rule is not None, f"{command}: add a rule to RULES"
    if rule.how is How.TARGET:
        assert re.search(rf"^{re.escape(command.words[1])}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif rule.how in (How.RUN, How.PARSED):
        program, *rest = command.words
        if program == "torchrun":
            program, rest = "distill-worker", rest[rest.index("distill_worker") + 1 :]
        if program in PROGRAMS:
            parse([program, *rest])


def test_every_rule_is_used_and_says_why() -> None:
    """But for rules of pages that are not there yet, and those of last resort."""
    there = [rule for rule in RULES if rule.pages == ("*",) or any((ROOT / page).exists() for page in rule.pages)]
    used = {command.rule for command in COMMANDS}
    assert [rule for rule in there if rule not in used and rule.why != NOT_RUN] == []
    assert [rule for rule in there if not rule.why and rule.how not in (How.RUN, How.TARGET)] == []
    named = {name for rule in there for name in re.findall(r"test_\w+\.py", rule.why)}
    assert named - {path.name for path in (ROOT / "tests").rglob("test_*.py")} == set()


@pytest.mark.parametrize("line", ["distill-worker plan --no-such-option", "distill-worker pay", "teacher-service keys"])
def test_wrong_line_is_seen(line: str) -> None:
    with pytest.raises(TyperException):
        parse(line.split())


def test_parsing_runs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the command nor an option that acts while it is parsed."""
    example = typer.Typer(add_completion=True)

    def act() -> None:
        raise AssertionError("it ran")

    example.callback()(act)
    example.command("pay")(act)
    monkeypatch.setitem(PROGRAMS, "example", example)
    monkeypatch.setenv("SHELL", "/bin/bash")
    parse(["example", "pay"])
    for option in ("--install-completion", "--show-completion"):
        parse(["example", option])
    assert list(tmp_path.iterdir()) == []


def inline_commands() -> Iterator[tuple[str, str]]:
    """The whole command lines within the sentences of the pages: those that have an argument."""
    for page in PAGES:
        for code in re.findall(r"`((?:distill-worker|teacher-service) [^`]+)`", prose(page)):
            text = " ".join(code.partition(" > ")[0].split())
            if "..." not in text and "/" not in text.split()[1]:
                yield str(page.relative_to(ROOT)), text


@pytest.mark.parametrize("where", sorted(set(inline_commands())), ids=": ".join)
def test_command_within_a_sentence_names_real_options(where: tuple[str, str]) -> None:
    """Arguments, and the values of options, may be left out there."""
    try:
        parse(where[1].split())
    except TyperException as error:
        if type(error).__name__ not in ("BadOptionUsage", "MissingParameter", "NoArgsIsHelpError"):
            raise


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service of an untrained network for digits."""
    folder = tmp_path_factory.mktemp("teacher")
    service = RunningService(untrained_teacher(folder / "teacher.safetensors"), folder)
    service.start()
    yield service
    service.kill()


@pytest.mark.parametrize(
    "page", sorted({command.page for command in COMMANDS if command.rule and command.rule.how is How.RUN})
)
def test_commands_of_a_page_run_in_their_order(page: str, teacher: RunningService, tmp_path: Path) -> None:
    """The service, the purchases and the trainings are real, with few steps; addresses and keys are replaced."""
    key = teacher.create_key(re.sub(r"\W", "-", page), quota=2000)
    sandbox = Sandbox(tmp_path, teacher, key)
    sandbox.fill()
    if page in NEEDS_A_FINISHED_RUN:
        sandbox.run(Command("docs/spending.md", "distill-worker run run.toml"))
    if page in NEEDS_A_TEACHERS_WEIGHTS:
        sandbox.run(Command("docs/quick-start.md", "distill-worker train examples/digits-teacher.toml"))
    try:
        for command in COMMANDS:
            if command.page == page and command.rule is not None and command.rule.how is How.RUN:
                sandbox.run(command)
    finally:
        sandbox.close()
