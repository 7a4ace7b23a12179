"""Both programs end with the statuses that are documented."""

from pathlib import Path

from shared.exit_status import ExitStatus, legend, table

DOCS = Path(__file__).parents[2] / "docs"


def test_numbers_are_those_that_scripts_rely_on() -> None:
    assert {status.name: status.value for status in ExitStatus} == {
        "SUCCESS": 0,
        "UNEXPECTED_ERROR": 1,
        "WRONG_USAGE": 2,
        "UNUSABLE_FILE": 3,
        "UNUSABLE_TEACHER": 4,
        "PURCHASE_REJECTED": 5,
        "DIFFERENCE": 6,
        "INTERRUPTED": 130,
    }


def test_page_and_help_name_every_status() -> None:
    """If this fails, run `make docs`."""
    assert table() in (DOCS / "exit-statuses.md").read_text()
    assert all(f"{status.value} {status.meaning}" in legend() for status in ExitStatus)
