"""Parts of documents that tests write: `WRITE_DOCS=1` writes them, otherwise they must be as they would be written."""

import os
from pathlib import Path


def check_part(page: Path, beginning: str, end: str, part: str, *, remedy: str) -> None:
    """Check that a page has this part between two markers, or write it."""
    before, _, rest = page.read_text(encoding="utf-8").partition(beginning)
    kept, _, after = rest.partition(end)
    if os.environ.get("WRITE_DOCS"):
        page.write_text(f"{before}{beginning}{part}{end}{after}", encoding="utf-8")
    else:
        assert kept == part, f"{page.name} is out of date: {remedy}"
