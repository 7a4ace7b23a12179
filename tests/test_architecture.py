"""docs/architecture.md is true of the code: its paths exist, and its picture is the one that the code draws."""

import importlib.util
import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = (ROOT / "docs" / "architecture.md").read_text()
PLACES: Final = (ROOT, ROOT / "teacher_service", ROOT / "distill_worker")


def test_every_path_of_the_page_exists() -> None:
    paths = set(re.findall(r"`([\w./]+/[\w./]*)`(?!, new)", PAGE))
    assert len(paths) > 40
    assert [path for path in sorted(paths) if not any((place / path).exists() for place in PLACES)] == []


def test_picture_is_the_one_that_the_code_draws() -> None:
    """If this fails, run `make docs`."""
    spec = importlib.util.spec_from_file_location("draw_rooms", ROOT / "docs" / "draw_rooms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "rooms.svg").read_text() == module.picture()
