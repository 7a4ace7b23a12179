"""Generate documents from the code: `python -m teacher_service.cli.write_docs docs` (`make docs`)."""

import sys
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr

from shared.exit_status import table
from teacher_service.errors.catalogue import markdown
from teacher_service.settings import Settings

_BEGIN: Final = "<!-- settings: made by `make docs` -->\n"
_END: Final = "<!-- end of settings -->\n"


def settings_table() -> str:
    """A Markdown table of the service's environment variables."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        meaning = " ".join((field.description or "").split())
        rows.append(
            f"| `TEACHER_{name.upper()}` | {_default(field.default)} | {_choices(field.annotation)}{meaning}".rstrip()
            + " |"
        )
    return "\n".join(rows) + "\n"


def with_settings(guide: str) -> str:
    """The operator's guide with the current table of settings."""
    before, _, rest = guide.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{settings_table()}\n{_END}{after}"


def exit_statuses() -> str:
    """The page of the exit statuses."""
    return (
        "# Exit statuses\n\nBoth programs, `distill-worker` and `teacher-service`, end with one of these statuses. "
        "A message on standard error says the rest.\n\nMade by `make docs` from `shared/exit_status.py`.\n\n" + table()
    )


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def _choices(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation)) + ". "
    return "Secret. " if SecretStr in (annotation, *get_args(annotation)) else ""


def _write(folder: Path) -> None:
    (folder / "problems.md").write_text(markdown(), encoding="utf-8")
    (folder / "exit-statuses.md").write_text(exit_statuses(), encoding="utf-8")
    guide = folder / "operating.md"
    guide.write_text(with_settings(guide.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
