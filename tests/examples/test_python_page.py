"""docs/python.md: all its code runs, one block after the other, against a real service."""

import os
import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.end_to_end.processes import RunningService

PAGE: Final = Path(__file__).parents[2] / "docs" / "python.md"


def test_code_of_the_page_runs(service: RunningService, capsys: pytest.CaptureFixture[str]) -> None:
    """It buys a hundred outputs once, whatever is trained on them."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = [
        (match[1], text[: match.start()].count("\n") + 2)
        for match in re.finditer(r"```python\n(.*?)```", text, re.DOTALL)
    ]
    assert len(blocks) == text.count("```") // 2, "every block is Python"
    names: dict[str, Any] = {}
    for block, line in blocks:
        exec(compile("\n" * (line - 1) + block, str(PAGE), "exec"), names)  # noqa: S102 - the code is our own
    assert service.quota(os.environ["TEACHER_API_KEY"])["used"] == 100
    assert "Nothing was spent" in capsys.readouterr().out, "the error of the last block"
    assert names["report"].accuracy > 0.5
    assert names["rows"][0][0].probability >= names["rows"][0][1].probability
    assert len(names["table"]["position"]) == 100
