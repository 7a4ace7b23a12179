"""What happens to each command of the documents in the tests: the table, and the parsing by the real command lines."""

import contextlib
import re
import shlex
from collections.abc import Iterator
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperGroup

from distill_worker.cli.command import app as worker
from teacher_service.cli.command import app as service
from tests.docs.pages import PAGES, ROOT, blocks


class How(Enum):
    """What a test does with a command."""

    RUN = "run in a sandbox, with a real service"
    PARSED = "parsed by the real command line, and not run"
    TARGET = "a target of the Makefile"
    ELSEWHERE = "run by another test"
    LISTED = "neither run nor parsed here"


class Rule(NamedTuple):
    """The commands of some pages, and what happens to them."""

    pages: tuple[str, ...]
    commands: str
    how: How
    why: str = ""
    further: tuple[str, ...] = ()
    """Arguments that make it small, when it is run."""


NOT_RUN: Final = "on a page whose commands are not run"
_ANY: Final = ("*",)
_RUN_ON: Final = (
    "README.md",
    "docs/analyses.md",
    "docs/api-key.md",
    "docs/command-line.md",
    "docs/doctor.md",
    "docs/export.md",
    "docs/folder.md",
    "docs/methods.md",
    "docs/quick-start.md",
    "docs/report.md",
    "docs/spending.md",
    "docs/unlabelled.md",
)
"""The pages whose commands are run, each page in a sandbox of its own."""
_FEW_STEPS: Final = ("--set", "training.steps=2", "--set", "training.batch_size=8", "--set", "training.device=cpu")
RULES: Final = (
    Rule(("docs/operating.md",), "*", How.ELSEWHERE, "test_operating_guide.py"),
    Rule(("docs/serve-your-model.md",), "*", How.ELSEWHERE, "test_serve_your_model.py"),
    Rule(("docs/command-line.md",), "*-completion*", How.LISTED, "writes into the user's home folder"),
    Rule(_ANY, "git clone *", How.LISTED, "the repository has no address"),
    Rule(_ANY, "cd tuition", How.LISTED, "the clone is not made"),
    Rule(_ANY, "*docker compose *", How.LISTED, "needs a Docker daemon; docs/results/compose.md has a run"),
    Rule(_ANY, "*pip install *", How.LISTED, "needs a package index"),
    Rule(_ANY, "tensorboard *", How.LISTED, "a server without end, of another program"),
    Rule(_ANY, "make *", How.TARGET),
    Rule(_ANY, "torchrun *", How.PARSED, "test_ranks.py starts several ranks"),
    Rule(_ANY, "distill-worker compare *", How.PARSED, "takes minutes; test_compare.py"),
    Rule(_ANY, "distill-worker sweep *", How.PARSED, "takes hours; test_sweep_presets.py"),
    Rule(_ANY, "distill-worker forecast *", How.PARSED, "12 students; test_forecast.py"),
    Rule(_ANY, "distill-worker analyse *compare*", How.PARSED, "needs a comparison"),
    Rule(_ANY, "distill-worker report runs/*/*", How.PARSED, "needs a comparison or sweep"),
    Rule(_ANY, "*--format onnx", How.PARSED, "takes long; test_export.py"),
    Rule(_ANY, "teacher-service serve *.onnx", How.PARSED, "no export is made here"),
    Rule(_RUN_ON, "distill-worker run --data *", How.RUN, "with few steps", _FEW_STEPS),
    Rule(_RUN_ON, "distill-worker *", How.RUN),
    Rule(_RUN_ON, "teacher-service *", How.RUN),
    Rule(_RUN_ON, "curl *", How.RUN),
    Rule(_RUN_ON, "export *", How.RUN),
    Rule(_ANY, "distill-worker *", How.PARSED, NOT_RUN),
    Rule(_ANY, "teacher-service *", How.PARSED, NOT_RUN),
    Rule(_ANY, "curl *", How.LISTED, NOT_RUN),
    Rule(_ANY, "export *", How.LISTED, NOT_RUN),
)
"""The first rule that fits a command is its own. A command that no rule fits fails the tests."""


class Command(NamedTuple):
    """A command of a page."""

    page: str
    text: str

    @property
    def rule(self) -> Rule | None:
        """What happens to it; None if the table does not say."""
        return next((rule for rule in RULES if self._fits(rule)), None)

    def _fits(self, rule: Rule) -> bool:
        on_page = any(fnmatchcase(self.page, page) for page in rule.pages)
        return on_page and fnmatchcase(self.text, rule.commands)

    @property
    def words(self) -> list[str]:
        """The words of the command line, without its comment, and without what the shell does with its output."""
        return shlex.split(re.sub(r"( \d?> \S+| &| \| .*)+$", "", self.text), comments=True)


def commands_of(page: str) -> Iterator[Command]:
    """The commands in the shell blocks of a page, in their order."""
    for block in blocks(ROOT / page):
        if block.language in ("sh", "bash", "console"):
            for line in block.content.replace("\\\n", " ").splitlines():
                text = " ".join(re.sub(r"(^|\s)#.*", "", line).split())
                yield from (Command(page, part.strip()) for part in text.split(" && ") if part.strip())


def all_commands() -> list[Command]:
    """Every command of every document."""
    return [command for page in PAGES for command in commands_of(str(page.relative_to(ROOT)))]


PROGRAMS: Final = {"distill-worker": worker, "teacher-service": service}


def parse(words: list[str]) -> None:
    """Parse a command line as the program does, and run nothing. Raises `TyperException` if it is wrong.

    Some options act while they are parsed (`--install-completion` writes into the home folder). So the actions of all
    are taken away first; `--help`, which is no parameter of a command, prints the help.
    """
    name, *rest = words
    command: Any = typer.main.get_command(PROGRAMS[name])
    context: Any = None
    title: str | None = name
    with contextlib.suppress(typer.Exit):  # --help
        while True:
            for option in command.params:
                option.callback = None
            context = command.make_context(title, rest, parent=context)
            rest = [*context._protected_args, *context.args]
            if not isinstance(command, TyperGroup) or not rest:
                return
            title, command, rest = command.resolve_command(context, rest)
