"""The Markdown documents: their prose, links, anchors and code blocks."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.docs.scripts import DOCS

ROOT: Final = DOCS.parent
PAGES: Final = sorted(
    page for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")) if "-draft" not in page.name
)
_BLOCK: Final = re.compile(r"^(?P<fence>```+)(?P<language>\w*)\n(?P<content>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE)
_LINK: Final = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")


class Block(NamedTuple):
    """A code block of a page."""

    page: str
    """Its path below the root."""
    language: str
    content: str


def blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a page, in their order."""
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield Block(str(page.relative_to(ROOT)), match["language"], match["content"])


def prose(page: Path) -> str:
    """A page without its code."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return re.sub(r"`[^`\n]*`", lambda code: "" if "](" in code[0] else code[0], text)


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures."""
    return [match["target"] for match in _LINK.finditer(prose(page))]


def anchors(page: Path) -> set[str]:
    """The anchors that a forge gives a page's headings."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
