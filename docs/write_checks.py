"""Write the table of docs/checks.md from the registry of checks. `make docs` runs it."""

from pathlib import Path
from typing import Final

from distill_worker.runs.preflight import table

PAGE: Final = Path(__file__).parent / "checks.md"
_BEGIN: Final = "<!-- checks: made by `make docs` -->\n"
_END: Final = "<!-- end of checks -->\n"


def with_checks(page: str) -> str:
    """The page with the current table of checks."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_checks(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
