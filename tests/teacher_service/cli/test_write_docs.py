"""Generated parts of docs/ match the code."""

from pathlib import Path

import pytest

from teacher_service.api.bounded_connection import HEAD_SECONDS, MAX_HEAD_BYTES
from teacher_service.cli.write_docs import exit_statuses, settings_table, with_settings
from teacher_service.errors.catalogue import catalogue, html_page, markdown
from teacher_service.errors.service_errors import HeadTooLarge, HeadTooSlow, ServiceError
from teacher_service.settings import Settings

DOCS = Path(__file__).parents[3] / "docs"


def _leaves(error: type[ServiceError]) -> list[type[ServiceError]]:
    children = error.__subclasses__()
    return [leaf for child in children for leaf in _leaves(child)] if children else [error]


@pytest.mark.parametrize("error", _leaves(ServiceError), ids=lambda error: error.__name__)
def test_every_refusal_has_a_page_that_says_what_to_do(error: type[ServiceError]) -> None:
    page = catalogue()[error.kind]
    assert error in page.cases
    assert error.meaning()
    assert "remedy" in vars(error), "its own, not its parent's"
    assert error.example().document()["status"] == error.status == page.cases[0].status, "one kind, one status"
    assert f"## `{page.kind}` ({page.cases[0].status})\n" in markdown()
    assert f"Cost: {error.cost}." in html_page(page).replace("<code>", "`").replace("</code>", "`")


def test_page_says_that_waiting_helps_exactly_where_it_does() -> None:
    assert "after the seconds" in catalogue()["overloaded"].retry
    assert catalogue()["quota-exceeded"].retry.startswith("no")
    assert "charged at most once" in catalogue()["prediction-failed"].retry


def test_catalogue_in_docs_is_that_of_the_errors() -> None:
    assert (DOCS / "problems.md").read_text() == markdown(), "out of date: run `make docs`"


def test_page_of_exit_statuses_is_that_of_the_code() -> None:
    assert (DOCS / "exit-statuses.md").read_text() == exit_statuses(), "out of date: run `make docs`"


def test_guide_has_every_setting_and_its_default() -> None:
    guide = (DOCS / "operating.md").read_text()
    assert with_settings(guide) == guide, "out of date: run `make docs`"
    assert all(field.description for field in Settings.model_fields.values())
    assert settings_table().count("\n") == 2 + len(Settings.model_fields)


def test_guide_names_the_bounds_of_a_head() -> None:
    bounds = f"{MAX_HEAD_BYTES // 1024} KiB and {HEAD_SECONDS} s"
    assert bounds in (DOCS / "operating.md").read_text()
    assert str(MAX_HEAD_BYTES) in HeadTooLarge.example().detail
    assert f"{HEAD_SECONDS} s" in HeadTooSlow.example().detail
