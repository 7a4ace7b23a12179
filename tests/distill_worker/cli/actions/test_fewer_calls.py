"""examples/fewer-calls from the command to the page: every row of the file of the digits, in a few steps."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fewer_calls
from tests.distill_worker.cli.conftest import Command, facts_of

_EXAMPLE = Path(__file__).parents[4] / "examples" / "fewer-calls" / "digits.toml"
_SELF_TRAINING = "self_training = {rounds = 1, members = 2}"
_SHORTER = {
    'directory = "../../runs/fewer-calls/digits"': 'directory = "compared"',
    "n = [50, 200]": "n = [20]",
    "seeds = 3": "seeds = 2",
    "reference_n = [25, 100, 400, 800]": "reference_n = [8, 10, 12, 16, 24]",
    '[student]\nnetwork = "resnet8"': (
        '[student]\nnetwork = "resnet8"\n'
        "[training]\nsteps = 4\nbatch_size = 8\nlearning_rate = 0.01\ndevice = 'cpu'\nprecision = 'float32'"
    ),
    "settings.training.steps = 800": "",
    "settings.training = { steps = 2400, batch_size = 32 }": "",
    "settings.training = { steps = 5000, batch_size = 32 }": "",
    'network = "resnet8x4"': 'network = "resnet8"',
    "steps = 300": "steps = 20",
    "term_weights = [1, 10], weight_decays = [5e-4, 2e-3], learning_rates = [0.05], first_steps = 600": (
        "trials = 2, learning_rates = [0.01], first_steps = 2"
    ),
    'settings.self_training = { start = "member" }': f"settings.{_SELF_TRAINING}",
    'method = { name = "auto" }': f'method = {{ name = "auto" }}\nsettings.{_SELF_TRAINING}',
}
"""What makes the comparison short, by what the file has in its place."""
_LARGEST_N = 24
_ROWS = 15


def _shorter_example(folder: Path) -> Path:
    text = _EXAMPLE.read_text()
    for full, short in _SHORTER.items():
        assert full in text, f"the example has changed: {full}"
        text = text.replace(full, short)
    path = folder / "digits.toml"
    path.write_text(text)
    return path


def test_shorter_example_is_trained_resumed_and_printed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its teacher is a real service. Only the student that is missing is trained later."""
    comparison = _shorter_example(tmp_path)
    facts = facts_of(command("compare", comparison, "--json"))
    assert facts["calls_paid"] == facts["quota"]["limit"] - facts["quota"]["remaining"]
    assert facts["calls_paid"] >= _LARGEST_N, "each seed draws its own samples"
    results: list[dict[str, Any]] = facts["results"]
    assert len(results) == (_ROWS + 5) * 2, "the reference has five sizes of its own"
    lost = tmp_path / "compared" / "students" / "KD--self-trained-n20-seed1"
    shutil.rmtree(lost)
    ended = command("compare", comparison, "--json")
    again = facts_of(ended)
    assert (again["calls_paid"], again["cache_hits"]) == (0, facts["calls_paid"])
    anew = [one["method"] for one, before in zip(again["results"], results, strict=True) if one != before]
    assert anew in ([], ["KD, self-trained"]), "its seconds alone may differ"
    assert [one["accuracy"] for one in again["results"]] == [one["accuracy"] for one in results]
    assert (lost / "result.json").exists()
    (tmp_path / "digits.json").write_text(ended.stdout)
    monkeypatch.setattr(sys, "argv", ["fewer_calls", str(tmp_path / "digits.json")])
    fewer_calls.main()
    page = capsys.readouterr().out
    for track in ("queried", "unlabelled-pool"):
        assert f"### digits, n = 20, track `{track}`" in page
    assert "| reference | n = 8 | n = 10 | n = 12 | n = 16 | n = 20 | n = 24 |" in page
    for label in {one["method"] for one in results}:
        assert f"\n| {label} | " in page
