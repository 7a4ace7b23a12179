"""A comparison that was run in parts: the later part's results take the place of the earlier ones."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.joined import agreement, joined, main


def _facts(accuracies: dict[tuple[str, int], float], *, steps: int = 100, teacher: str = "t") -> dict[str, Any]:
    results = [
        {"method": method, "track": "queried", "n": n, "seed": seed, "accuracy": value, "calls": n, "steps": steps}
        for (method, n), value in accuracies.items()
        for seed in (0, 1)
    ]
    shared = {"data": "digits", "student": "resnet8", "precision": "float32", "seeds": 2, "baseline": "KD"}
    reference = {"n": [10], "reference": "KD, tuned", "reference_n": [10, 20], "equivalent_calls": []}
    return {**shared, **reference, "teacher": {"id": teacher}, "results": results}


WHOLE = {("KD", 10): 0.5, ("KD, tuned", 10): 0.6, ("KD, tuned", 20): 0.8, ("auto", 10): 0.65}


def test_later_results_replace_earlier_ones_and_change_the_equivalent_calls() -> None:
    facts = joined(_facts(WHOLE), _facts({("auto", 10): 0.8, ("new", 10): 0.7}))
    found = {(result["method"], result["n"]): result["accuracy"] for result in facts["results"]}
    assert found == {**WHOLE, ("auto", 10): 0.8, ("new", 10): 0.7}
    calls = {one["method"]: one["calls"]["value"] for one in facts["equivalent_calls"]}
    assert calls["auto"] == 20
    assert calls["new"] == pytest.approx(10 * 2**0.5, abs=0.1), "halfway, on a logarithmic axis"


def test_agreement_counts_the_results_with_as_many_steps() -> None:
    whole = _facts(WHOLE)
    part = {**_facts({("KD", 10): 0.5, ("auto", 10): 0.7})}
    part["results"] += _facts({("KD, tuned", 10): 0.9}, steps=200)["results"]
    assert agreement(whole, part) == "6 results joined; 2 of 4 with as many steps are equal"


def test_parts_of_other_comparisons_are_not_joined() -> None:
    with pytest.raises(SystemExit, match="same teacher"):
        joined(_facts(WHOLE), _facts(WHOLE, teacher="another"))


def test_command_writes_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = tmp_path / "whole.json", tmp_path / "part.json"
    whole.write_text(json.dumps(_facts(WHOLE)))
    part.write_text(json.dumps(_facts({("auto", 10): 0.7})))
    monkeypatch.setattr(sys, "argv", ["joined", str(whole), str(part)])
    main()
    assert capsys.readouterr().out == "2 results joined; 0 of 2 with as many steps are equal\n"
    methods = {result["method"] for result in json.loads(whole.read_text())["results"]}
    assert methods == {"KD", "KD, tuned", "auto"}
