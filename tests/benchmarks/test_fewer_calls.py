"""The page about few calls is printed from what comparisons printed: figures worked out by hand."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fewer_calls import main, tables_of
from benchmarks.tables_page import BEGIN, END, kept, with_tables

EQUAL = {"relation": "=", "value": 25.0}


def _facts(shift: float = 0) -> dict[str, Any]:
    """Three rows on two tracks, two seeds, two sizes."""
    accuracies = {
        ("KD", "queried"): {10: [0.5, 0.6], 20: [0.7, 0.7]},
        ("KD, tuned", "queried"): {10: [0.6, 0.6], 20: [0.8, 0.7]},
        ("self-trained", "unlabelled-pool"): {10: [0.7 + shift, 0.8 + shift], 20: [0.8, 0.8]},
    }
    return {
        "n": [10, 20],
        "seeds": 2,
        "baseline": "KD",
        "reference": "KD, tuned",
        "reference_n": [10, 20],
        "student": "resnet8",
        "precision": "float32",
        "teacher": {"id": "t", "network": "resnet20", "accuracy": 0.9},
        "equivalent_calls": [
            {"method": method, "n": n, "paid": n, "calls": EQUAL, "low": EQUAL, "high": EQUAL}
            for method in ("KD", "self-trained")
            for n in (10, 20)
        ],
        "results": [
            {"method": method, "track": track, "n": n, "seed": seed, "accuracy": value, "calls": n, "seconds": 3.4}
            for (method, track), by_n in accuracies.items()
            for n, values in by_n.items()
            for seed, value in enumerate(values)
        ],
    }


def test_each_track_at_each_size_has_a_table_with_every_seed() -> None:
    tables = tables_of({"digits": _facts()})
    for heading in ("digits, n = 10, track `queried`", "digits, n = 20, track `unlabelled-pool`"):
        assert f"### {heading}\n" in tables
    assert "Teacher resnet20 (90.00%); student resnet8, in float32" in tables
    assert "| KD, tuned | 60.00 ± 0.00 | 60.00 60.00 | 10 | 3 | +5.00 [-58.53, +68.53] (1/2)" in tables
    assert "| self-trained | 75.00 ± 7.07 | 70.00 80.00 | 10 | 3 | +20.00 [no interval] (2/2)" in tables
    assert "| 25 [25, 25], 2.5x |" in tables
    assert "| equivalent calls of KD, tuned [bootstrap interval, too narrow with so few seeds], factor |" in tables
    assert tables.count("| KD, tuned | 60.00 ± 0.00 | 75.00 ± 7.07 |") == 1, "the curve of the reference"


def test_auto_is_tested_against_the_best_other_row_of_its_track() -> None:
    """At n = 20, KD with tuning is better than KD: 75 against 70; auto has 80 and 90."""
    facts = _facts()
    assert "auto against" not in tables_of({"digits": facts})
    facts["results"] += [
        {
            "method": "auto, queried",
            "track": "queried",
            "n": n,
            "seed": seed,
            "accuracy": value,
            "calls": n,
            "seconds": 9,
        }
        for n, values in {10: [0.6, 0.7], 20: [0.8, 0.9]}.items()
        for seed, value in enumerate(values)
    ]
    tables = tables_of({"digits": facts})
    assert "### digits, auto against the best other row\n" in tables
    assert "| auto, queried | `queried` | 10 | KD, tuned | +5.00 " in tables
    assert "| auto, queried | `queried` | 20 | KD, tuned | +10.00 " in tables


def test_best_other_row_is_chosen_and_corrected_for_as_the_heading_says() -> None:
    """Differences 0 and 10 have t = 1 and p = 0.5, differences 10 and 20 have t = 3 and p = 0.205: Holm doubles it."""
    facts = _facts()
    facts["results"] += [
        result | {"method": "auto, queried", "accuracy": result["accuracy"] + 0.1 * result["seed"] + shift}
        for result in facts["results"]
        if result["method"] == "KD, tuned"
        for shift in [0.1 if result["n"] == 20 else 0.0]
    ]
    page = tables_of({"digits": facts}).partition("### digits, auto against the best other row\n")[2].splitlines()
    assert (
        "| best other by test accuracy | points [95 % interval] (seeds won) p, Holm's p over the rows of this"
        in page[1]
    )
    assert page[3].endswith(" 0.500, 0.500 |")
    assert page[4].endswith(" 0.205, 0.410 |")


def test_auto_with_a_pool_is_compared_with_rows_without_it_too() -> None:
    """At n = 20, KD with tuning is better than the other row with a pool: 75 against 60."""
    facts = _facts()
    facts["results"] = [
        result | ({"accuracy": 0.6} if result["method"] == "self-trained" else {}) for result in facts["results"]
    ]
    facts["results"] += [
        result | {"method": "auto", "accuracy": 0.9}
        for result in facts["results"]
        if result["method"] == "self-trained"
    ]
    assert "| auto | `unlabelled-pool` | 20 | KD, tuned | +15.00 " in tables_of({"digits": facts})


def test_settings_that_were_chosen_are_listed_seed_by_seed() -> None:
    facts = _facts()
    assert "settings by cross-fitting" not in tables_of({"digits": facts})
    chosen = [{"term_weight": 10.0, "learning_rate": 0.05}, {}]
    for result in facts["results"]:
        if result["method"] == "KD, tuned" and result["n"] == 20:
            result["tuning"] = chosen[result["seed"]]
    assert "| KD, tuned | 20 | term_weight 10.0, learning_rate 0.05; as configured |" in tables_of({"digits": facts})


def test_means_are_over_the_cells_of_all_comparisons() -> None:
    """The self-trained row is 20, 10, 40 and 10 points above KD, and 15, 5, 35 and 5 above KD with tuning."""
    tables = tables_of({"digits": _facts(), "glyphs": _facts(shift=0.2)})
    assert "| track | method | cells | points above KD | points above KD, tuned |" in tables
    assert "| unlabelled-pool | self-trained | 4 | +20.00 | +15.00 |" in tables
    assert "| queried | KD | 4 | +0.00 | -5.00 |" in tables


@pytest.mark.parametrize("other", ["CE", None])
def test_comparisons_with_other_rows_have_no_common_means(other: str | None) -> None:
    with pytest.raises(SystemExit, match=f"expected one baseline .* got digits: KD and KD, tuned; glyphs: {other} and"):
        tables_of({"digits": _facts(), "glyphs": {**_facts(), "baseline": other}})
    with pytest.raises(SystemExit, match="got digits: KD and KD, tuned; glyphs: KD and None"):
        tables_of({"digits": _facts(), "glyphs": {**_facts(), "reference": None}})


def test_comparison_without_a_reference_has_the_same_tables_without_its_columns() -> None:
    tables = tables_of({"selection": {**_facts(), "reference": None, "equivalent_calls": None}})
    row = "| self-trained | 75.00 ± 7.07 | 70.00 80.00 | 10 | 3 | +20.00 [no interval] (2/2) 0.500, 1.000 |"
    assert row in tables.splitlines()
    assert "equivalent calls" not in tables
    assert "Means over all cells" not in tables


def test_tables_are_replaced_and_the_other_text_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "digits.json").write_text(json.dumps(_facts()))
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}of earlier\n{END}\n\nWhat it says.\n")
    results = str(tmp_path / "digits.json")
    monkeypatch.setattr(sys, "argv", ["fewer_calls", results])
    main()
    tables = capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["fewer_calls", results, "--into", str(page)])
    main()
    assert page.read_text() == f"# Title\n\n{BEGIN}{tables}{END}\n\nWhat it says.\n"
    page.unlink()
    main()
    assert page.read_text().endswith(f"\n\n{BEGIN}{tables}{END}\n"), "a page of its own"
    with pytest.raises(ValueError, match="expected one pair of the lines <!-- tables --> and <!-- end -->, got 0"):
        with_tables("# Title\n", tables)


def test_kept_results_hold_no_path_of_the_machine() -> None:
    facts = _facts()
    facts["teacher"]["weights"] = "/home/someone/student.safetensors"
    text = kept(facts)
    assert json.loads(text) == _facts()
    assert text.count("\n") > len(facts["results"]), "a line each"


@pytest.mark.parametrize("page_name", ["fewer-calls", "selection", "ablation"])
def test_page_is_printed_from_the_results_beside_it(page_name: str) -> None:
    results = Path(__file__).parents[2] / "docs" / "results" / page_name
    comparisons = {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    page = results.with_suffix(".md").read_text()
    assert with_tables(page, tables_of(comparisons)) == page
