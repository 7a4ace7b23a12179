"""Plain English where users read: no word of the private dialect in --help, in an error, or in docs/."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = ("shared", "teacher_service", "distill_worker")
DIALECT: Final = re.compile(
    r"\b(desk|acquaintances?|eligible|prepared|"
    r"completions?|completed|asked|refus(?:e|es|ed|al|als|ing)|told|tells?|telling|found|offer(?:s|ed)?|"
    r"whoever|whatever|nobody|somebody|no one|moments?|needs a word|as many as \w+ likes|sees to|saw to|seen to)\b",
    re.IGNORECASE,
)
"""Words that were used here in a sense of their own; a reader expects the field's words instead."""

DOCUMENTS: Final = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
SOURCES: Final = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

_ERRORS: Final = {
    node.name
    for file in (
        "teacher_service/errors/service_errors.py",
        "distill_worker/errors.py",
        "shared/weights.py",
        "shared/oip/heads.py",
    )
    for node in ast.walk(ast.parse((ROOT / file).read_text()))
    if isinstance(node, ast.ClassDef)
} | {"ValueError"}


def _texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str) and " " in child.value:
            yield child.lineno, child.value


def errors_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The texts inside each `raise`, each call of `fail`, and each error that is made, by line."""
    for node in ast.walk(tree):
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if isinstance(node, ast.Raise) or called == "fail" or called in _ERRORS:
            yield from _texts(node)


def help_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The texts of `help=` and `epilog=`, and the docstrings of functions, by line: of the module of a command line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("help", "epilog"):
            yield from _texts(node.value)
        if isinstance(node, ast.FunctionDef):
            yield node.lineno, ast.get_docstring(node) or ""


def dialect_in(path: Path) -> list[str]:
    """Where a file has a word of the dialect, as `path:line: word: text`."""
    text, where = path.read_text(), path.relative_to(ROOT)
    if path.suffix == ".md":
        prose = re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL)
        sentences = list(enumerate(re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", prose).split("\n"), 1))
    else:
        tree = ast.parse(text)
        sentences = sorted({*errors_of(tree), *(help_of(tree) if "cli" in where.parts else ())})
    return [
        f"{where}:{line}: {match[0]}: {sentence.strip()[:160]}"
        for line, sentence in sentences
        for match in DIALECT.finditer(re.sub(r"`[^`\n]*`", "", sentence))
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_document_is_in_plain_english(path: Path) -> None:
    assert dialect_in(path) == []


def test_errors_and_help_are_in_plain_english() -> None:
    assert [line for path in SOURCES for line in dialect_in(path)] == []
