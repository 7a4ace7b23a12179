"""The site of the documentation is built from the pages as they are, and loads nothing from another host."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.docs.scripts import DOCS
from tests.endurance import HANG_SECONDS

PYTHON: Final = DOCS.parent / ".venv-docs" / "bin" / "python"
_ELSEWHERE: Final = r"""["']?(?:https?:)?//[^"' >)]+"""
_LOADED: Final = re.compile(
    rf"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*\b(?:src|srcset|data)={_ELSEWHERE}"
    rf"|<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|icon|preload|preconnect|dns-prefetch))[^>]*\bhref={_ELSEWHERE}"
    rf"|(?:@import\s*|url\()\s*{_ELSEWHERE}",
    re.IGNORECASE,
)
"""What a page or a style sheet loads from another host. Links that a reader follows are none."""

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="the site needs .venv-docs, which `make` installs")


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build as `make site` does, without a network."""
    nowhere = "http://127.0.0.1:9"
    return subprocess.run(
        [
            PYTHON,
            "-m",
            "sphinx",
            "--fail-on-warning",
            "--keep-going",
            "--quiet",
            "-c",
            DOCS / "website",
            source,
            target,
        ],
        env={"PATH": "", "http_proxy": nowhere, "https_proxy": nowhere, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_SECONDS,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(DOCS, folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    """A page that the navigation lacks would be a warning, which ends the build."""
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md") if "-draft" not in path.name}
    assert {page for page in pages if not (site / f"{page}.html").exists()} == set()
    index = (site / "index.html").read_text(encoding="utf-8")
    for page in ("quick-start", "api-key", "folder", "choosing", "method", "configuration", "security"):
        assert f'href="{page}.html"' in index


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css", ".svg")]
    loaded = {match[0] for path in files for match in _LOADED.finditer(path.read_text(encoding="utf-8"))}
    assert len(files) > 90
    assert loaded == set()


@pytest.mark.parametrize(
    "text",
    [
        '<script async src="https://cdn.example.org/mathjax.js"></script>',
        '<link rel="stylesheet" href="https://fonts.example.org/css">',
        "@import url(//fonts.example.org/css);",
        "background: url('https://example.org/a.png')",
    ],
)
def test_what_is_loaded_from_another_host_is_seen(text: str) -> None:
    assert _LOADED.search(text)


def test_broken_link_anchor_and_folder_fail_the_build(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    shutil.copytree(DOCS, source)
    for outside in ("examples", "tests", "distill_worker", "pyproject.toml", "README.md"):
        (tmp_path / outside).symlink_to(DOCS.parent / outside)
    page = source / "quick-start.md"
    broken = ("missing.md", "index.md#no-such-heading", "no/such/folder")
    page.write_text(page.read_text(encoding="utf-8") + "".join(f"\n[a link]({link})\n" for link in broken))
    built = build(source, tmp_path / "site")
    assert built.returncode != 0
    warnings = [line for line in built.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == len(broken)
    for link in broken:
        assert any(str(page) in line and link.rpartition("#")[2] in line for line in warnings), built.stderr
