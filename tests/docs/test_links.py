"""Every link of a document leads to something, as a forge shows it. The site's build checks its own links."""

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, links
from tests.docs.scripts import script


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    bad = []
    for target in links(page):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            bad.append(target)
    return bad


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_list_of_all_pages_is_the_navigation() -> None:
    """If this fails, run `make docs`; a page that the navigation lacks fails the build of the site."""
    writer = script("write_index")
    page = writer.PAGE.read_text(encoding="utf-8")
    assert writer.with_pages(page) == page


def test_a_broken_link_and_a_broken_anchor_are_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`, three\n\n[a](#one-two-three) [b](other.md) [c](#four)\n```sh\n[d](no.md)\n```\n")
    assert broken(page) == ["other.md", "#four"]


def test_every_page_of_results_and_every_picture_is_linked() -> None:
    """The table of docs/results/README.md lacks no page, and no picture of the documents is left over."""
    results = ROOT / "docs" / "results"
    assert {path.name for path in results.glob("*.md")} - {"README.md"} == set(links(results / "README.md"))
    shown = {Path(target).name for page in PAGES for target in links(page)}
    assert {path.name for path in (ROOT / "docs").rglob("*.svg")} - shown == set()
