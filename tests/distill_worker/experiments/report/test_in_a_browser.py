"""Every page in a real browser: Chromium, on a phone and on a desk's screen, in light and in dark."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from distill_worker.experiments.report.comparison_page import report_of_comparison
from distill_worker.experiments.report.run_page import report_of_run
from distill_worker.experiments.report.sweep_page import report_of_sweep
from tests.distill_worker.experiments.report.finished import HOSTILE, comparison, sweep_facts
from tests.distill_worker.experiments.report.test_run_page import record

CHROMIUM: Final = shutil.which("chromium")
OPTIONS: Final = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PAGES: Final = ("run", "hostile", "comparison", "one-n", "sweep", "unfinished-sweep")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium at chromium (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    pages = {
        "run": report_of_run(record(folder)).html,
        "hostile": report_of_run(record(folder, HOSTILE)).html,
        "comparison": report_of_comparison(comparison(reference=True), "distill-worker compare c.toml").html,
        "sweep": report_of_sweep(sweep_facts(folder / "sweep", axes={"point": HOSTILE[:4], "steps": ["4", "8"]})).html,
        "unfinished-sweep": report_of_sweep(
            sweep_facts(folder / "unfinished", axes={"track": ["queried", "unlabelled-pool"]}, lacks=7)
        ).html,
        "one-n": report_of_comparison(comparison(n=(50,), seeds=1, baseline=None)).html,
    }
    for name, html in pages.items():
        (folder / f"{name}.html").write_text(html)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that no script can run in, and that ends the test if it writes to the console or wants the network."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 400, "height": 800})
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda sent: None if sent.url.startswith(("file:", "data:")) else complaints.append(sent.url))
    yield page
    context.close()
    assert complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole_and_accessible(page: Page, folder: Path, name: str) -> None:
    page.goto((folder / f"{name}.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate("[...document.images].filter(one => !one.complete || !one.naturalWidth).length") == 0
    charts = page.evaluate("[...document.querySelectorAll('.chart svg')].map(one => one.getBBox().width)")
    assert charts
    assert min(charts) > 100
    serious = [
        (one["id"], [node["html"] for node in one["nodes"]][:3])
        for one in Axe().run(page).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_text_of_charts_is_read_on_a_phone(page: Page, folder: Path) -> None:
    page.goto((folder / "run.html").as_uri())
    heights = page.evaluate(
        "[...document.querySelectorAll('.chart svg text')].map(one => one.getBoundingClientRect().height)"
    )
    assert min(heights) > 5


def test_keyboard_reaches_the_content_first(page: Page, folder: Path) -> None:
    page.goto((folder / "run.html").as_uri())
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_every_id_is_there_once(page: Page, folder: Path, name: str) -> None:
    page.goto((folder / f"{name}.html").as_uri())
    assert page.evaluate("[...document.querySelectorAll('[id]')].length") == page.evaluate(
        "new Set([...document.querySelectorAll('[id]')].map(one => one.id)).size"
    )
