"""docs/configuration.md is what the code of the configuration says."""

import re
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Gt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from distill_worker.config.run_config import RunConfig
from tests.docs.scripts import DOCS, script

PAGE = (DOCS / "configuration.md").read_text(encoding="utf-8")
WRITER = script("write_configuration")


def test_page_is_the_one_that_the_code_writes() -> None:
    """If this fails, run `make docs`."""
    assert WRITER.with_sections(PAGE) == PAGE


def test_every_key_says_what_it_is() -> None:
    """A field without a docstring leaves the last cell of its row empty."""
    rows = re.findall(r"^\| `(\w+)` \|.*$", PAGE, re.MULTILINE)
    empty = re.findall(r"^\| `(\w+)` \|.*\|\s*\|$", PAGE, re.MULTILINE)
    assert len(rows) > 150
    assert empty == []


def test_every_section_of_a_run_is_on_the_page() -> None:
    """A section that is added to `RunConfig` is not forgotten."""
    sections = set(RunConfig.model_fields) - {"chosen_by_auto", "track", "method", "plus"}
    assert {name for name in sections if f"## `[{name}]`\n" not in PAGE} == set()


class _Example(BaseModel):
    count: int | None = None
    """How
    many."""
    share: Annotated[float, Gt(0)] = 0.5
    mode: Literal["a", "b"] = "a"


@pytest.mark.parametrize(
    ("key", "kind", "text"),
    [("count", "whole number", "How many."), ("share", "number, > 0", ""), ("mode", '`"a"` or `"b"`', "")],
)
def test_type_and_text_of_a_key_come_from_its_field(key: str, kind: str, text: str) -> None:
    field: FieldInfo = _Example.model_fields[key]
    described: Any = WRITER.description_of(_Example, key)
    assert (WRITER.kind_of(field), described) == (kind, text)
