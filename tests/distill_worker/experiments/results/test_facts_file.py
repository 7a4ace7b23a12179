"""What `distill-worker compare --json` printed is read back; other files are named for what they are."""

import json
from pathlib import Path

import pytest

from distill_worker.errors import ConfigError
from distill_worker.experiments.results.facts_file import read_facts

RESULT = {"method": "KD", "n": 5, "seed": 0, "accuracy": 1}


def test_facts_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"results": [RESULT], "seconds": 3}))
    assert read_facts(path) == {"results": [RESULT], "seconds": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected what distill-worker compare --json printed, got no JSON"),
        ("[compare]", "got no JSON"),
        ("[1]", "got JSON without such results"),
        ('{"results": []}', "got JSON without such results"),
        (json.dumps({"results": [{**RESULT, "n": "5"}]}), "got JSON without such results"),
        (json.dumps({"results": [RESULT, {"method": "KD"}]}), "got JSON without such results"),
    ],
)
def test_other_content_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_facts(path)


def test_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"r\.json: cannot read the results \(No such file"):
        read_facts(tmp_path / "r.json")
