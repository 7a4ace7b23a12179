"""Write the list of all pages into docs/index.md from the navigation of the site. `make docs` runs it.

A forge shows no navigation. The pages of docs/results and docs/decisions are in the lists of these folders.
"""

import re
import tomllib
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parent
PAGE: Final = DOCS / "index.md"
NAVIGATION: Final = DOCS / "website" / "navigation.toml"
_BEGIN: Final = "<!-- pages: made by `make docs` -->\n"
_END: Final = "<!-- end of pages -->\n"


def pages() -> str:
    """The sections with their pages, by title."""
    navigation = tomllib.loads(NAVIGATION.read_text(encoding="utf-8"))
    lines = []
    for section in navigation["section"]:
        if "caption" in section:
            links = [f"[{navigation['titles'].get(name) or _heading(name)}]({name}.md)" for name in section["pages"]]
            lines.append(f"- **{section['caption']}:** {', '.join(links)}")
    return "\n".join(lines)


def _heading(name: str) -> str:
    page = DOCS / f"{name}.md"
    heading = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    if heading is None:
        raise ValueError(f"{page}: expected a heading, '# Title', got none")
    return heading[1]


def with_pages(page: str) -> str:
    """The page with the current list."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{pages()}\n\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_pages(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
