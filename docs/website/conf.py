"""The site of the documentation: Sphinx reads docs/*.md as they are, and `make site` builds build/site.

Invariants: the pages are read on the forge, too, so nothing of the site stands in them. The navigation is
navigation.toml, and a page that it lacks is an error. A link to a page, an anchor, a file or a folder that is not there
is an error. The built pages load nothing from another host.
"""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from sphinx.application import Sphinx

DOCS: Final = Path(__file__).parent.parent
NAVIGATION: Final = Path(__file__).with_name("navigation.toml")
_LINK: Final = re.compile(r"(?<!!)\[(?P<text>[^\]\n]*(?:\n[^\]\n]*)?)\]\((?P<target>[^)\s#:]+)\)")
"""A link to a path without an anchor: its text may run over the end of a line."""
_FENCE: Final = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)

project = "Tuition"
project_copyright = ""
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["*-draft.md", "website"]
myst_heading_anchors = 4
nitpicky = True
smartquotes = False

html_theme = "furo"
html_title = "Tuition"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
pygments_style = "friendly"
html_theme_options = {"navigation_with_keys": False, "source_directory": ""}


def toctree(section: dict[str, Any], titles: dict[str, str]) -> str:
    """The directive of one section of the navigation: its pages, by their titles or else their headings."""
    options = [":glob:"]
    options += [] if section.get("shown") else [":hidden:"]
    options += [f":caption: {section['caption']}"] if "caption" in section else []
    pages = [f"{titles[page]} </{page}>" if page in titles else f"/{page}" for page in section["pages"]]
    return "\n".join(["```{toctree}", *options, "", *pages, "```", ""])


def with_folders(text: str, page: Path) -> str:
    """The text of a page whose links to folders lead to the folder's README.md, or are text where it has none.

    A forge shows a folder; a site has none.
    """

    def replaced(link: re.Match[str]) -> str:
        folder = (page.parent / link["target"]).resolve()
        if not folder.is_dir():
            return link[0]
        if folder.is_relative_to(DOCS) and (folder / "README.md").exists():
            return f"[{link['text']}]({link['target'].rstrip('/')}/README.md)"
        return link["text"]

    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(replaced, part) for part in parts)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    page = Path(app.srcdir) / f"{name}.md"
    source[0] = with_folders(source[0], page)
    navigation = tomllib.loads(NAVIGATION.read_text(encoding="utf-8"))
    for section in navigation["section"]:
        if section.get("below", "index") == name:
            source[0] += f"\n{toctree(section, navigation['titles'])}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect what reads the pages."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
