"""Every piece of TOML in the documents is valid, and what it sets are settings of the code; Python runs."""

import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from pydantic import ValidationError

from distill_worker.config.explanations import explained
from distill_worker.config.load import parse_config
from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.compare_section import Compare
from distill_worker.experiments.sweep.sweep_section import SweepSection
from tests.docs.pages import PAGES, ROOT, Block, blocks

PIECES: Final = [
    block for page in PAGES for block in blocks(page) if block.language == "toml" and "[project." not in block.content
]
PYTHON: Final = [block for page in PAGES for block in blocks(page) if block.language == "python"]
_REST: Final[dict[str, Any]] = {"data": {"name": "digits"}, "student": {"network": "resnet8"}, "method": {"name": "kd"}}
"""What a piece of a run's file leaves out."""
_OF_A_COMPARISON: Final = {
    "directory": "runs/compare",
    "n": [50],
    "methods": [{"label": "KD", "method": {"name": "kd"}}],
}


def complaint(piece: dict[str, Any]) -> str:
    """What is wrong with the settings of a piece; empty if they are right."""
    compare, sweep = piece.pop("compare", None), piece.pop("sweep", None)
    try:
        if compare is not None:
            Compare.model_validate({**_OF_A_COMPARISON, **compare})
        if sweep is not None:
            SweepSection.model_validate(sweep)
        if piece:
            parse_config(_filled(piece), source="a page")
    except ValidationError as error:
        return explained(error, Compare if compare is not None else SweepSection)
    except ConfigError as error:
        return str(error)
    return ""


def _filled(piece: dict[str, Any]) -> dict[str, Any]:
    """A piece of a run as a whole run."""
    document = {**_REST, **piece}
    for section in ("data", "student"):
        document[section] = {**_REST[section], **piece.get(section, {})}
    if "answer" in piece.get("teacher", {}):
        document["teacher"] = {"protocol": "labelled-scores", "labels": {"cat": 0}, "top_k": 1, **piece["teacher"]}
    return document


def _name(block: Block) -> str:
    return f"{block.page}: {block.content.splitlines()[0]}"


@pytest.mark.parametrize("block", PIECES, ids=_name)
def test_settings_of_a_page_are_those_of_the_code(block: Block) -> None:
    assert complaint(tomllib.loads(block.content)) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.step = 3", "training.step"),
        ("compare.rows = 3", "rows"),
        ("[sweep]\nquestions = 1", "questions"),
        ('[method]\nname = "ckd"\nkay = 3', "kay"),
    ],
)
def test_unknown_setting_is_seen(text: str, expected: str) -> None:
    assert f"{expected}: unknown key" in complaint(tomllib.loads(text))


@pytest.mark.parametrize(
    "block", [block for block in PYTHON if block.page in ("README.md", "docs/trackers.md")], ids=_name
)
def test_python_of_a_page_runs(block: Block) -> None:
    """With outputs of a batch at hand. docs/self-training.md needs a file of weights that others publish."""
    names = {"student_logits": torch.randn(8, 10, requires_grad=True), "teacher_logits": torch.randn(8, 10)}
    exec(compile(block.content, str(ROOT / Path(block.page)), "exec"), names)  # noqa: S102 - it is our own
