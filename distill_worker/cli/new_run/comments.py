"""The comment on a key of a configuration: the docstring of its field, so that both say the same.

docs/configuration.md is written from these docstrings, too.
"""

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise
from typing import Final

from pydantic import BaseModel

_WIDTH: Final = 100


def comment_on(section: type[BaseModel], key: str) -> list[str]:
    """The lines of the comment on a key, each with its mark."""
    lines = textwrap.wrap(docstring_of(section, key), _WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return [f"# {line}" for line in lines]


def docstring_of(section: type[BaseModel], key: str) -> str:
    """The docstring below a field of a section, or of a class that it inherits from, in one line; empty without one."""
    return " ".join(_docstrings(section).get(key, "").split())


@cache
def _docstrings(section: type[BaseModel]) -> dict[str, str]:
    """The docstring of each field of a section, also of those that it inherits."""
    texts: dict[str, str] = {}
    for kind in reversed(section.__mro__):
        if issubclass(kind, BaseModel) and kind is not BaseModel:
            [definition] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
            texts |= _of_fields(definition)
    return texts


def _of_fields(definition: ast.stmt) -> dict[str, str]:
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    return {
        field.target.id: after.value.value
        for field, after in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
    }
