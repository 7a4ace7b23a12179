"""The page about forecasts counts the bands that covered what was measured later, and sees only the earlier sizes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.forecast import main, tables_of
from distill_worker.experiments.comparison.cells import load_comparison

SIZES = (50, 100, 200, 400, 800, 1600)
EXAMPLES = Path(__file__).parents[2] / "examples" / "forecast"


def _facts(**errors: list[float]) -> dict[str, Any]:
    """Two seeds, half a point above and below the error of each size."""
    return {
        "results": [
            {"method": method, "n": n, "seed": seed, "accuracy": 1 - error + shift}
            for method, of_method in errors.items()
            for n, error in zip(SIZES, of_method, strict=True)
            for seed, shift in enumerate((-0.005, 0.005))
        ]
    }


LAW = [0.1 + 2 * n**-0.5 for n in SIZES]


def test_bands_that_cover_are_counted_by_data_set() -> None:
    """MSE falls back after the fitted sizes: the forecast must miss, and may not know that it does."""
    tables = tables_of({"a": _facts(KD=LAW, MSE=[*LAW[:4], 0.5, 0.5]), "b": _facts(KD=LAW)})
    assert "| a | 4 | 2 | 50% |" in tables
    assert "| b | 2 | 2 | 100% |" in tables
    assert "| all | 6 | 4 | 67% |" in tables
    assert "| a | KD | 50, 100, 200, 400 | 800 | 82.9 (" in tables
    assert "| 82.9 | yes |" in tables
    assert tables.count("| 50.0 | **no** |") == 2
    assert "## No forecast" not in tables


def test_method_without_a_forecast_is_listed_and_not_counted() -> None:
    tables = tables_of({"a": _facts(KD=LAW, CE=[0.3, 0.5, *LAW[2:]])})
    assert "| a | 2 | 2 | 100% |" in tables
    assert "| a | CE | forecast: not monotone: CE has 70.0% with 50 samples and less with 100: 50.0%" in tables


def test_tables_are_put_into_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text(json.dumps(_facts(KD=LAW)))
    page = tmp_path / "page.md"
    monkeypatch.setattr(sys, "argv", ["forecast", str(tmp_path / "a.json"), "--into", str(page)])
    main()
    assert "| a | 2 | 2 | 100% |" in page.read_text()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_have_four_sizes_to_fit_and_two_to_forecast(path: Path) -> None:
    """Five methods and three seeds on parts of one purchase."""
    comparison = load_comparison(path)
    sizes = sorted(comparison.compare.n)
    assert [size <= sizes[-1] // 4 for size in sizes] == [True] * 4 + [False] * 2
    assert [method.method["name"] for method in comparison.compare.methods] == ["ce", "kd", "ckd", "dist", "mse"]
    assert {cell.config.budget.seed for cell in comparison.cells} == {0}
    assert {cell.config.training.seed for cell in comparison.cells} == {0, 1, 2}
    assert {cell.config.training.steps for cell in comparison.cells} == {800}


def test_three_data_sets_have_examples() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.toml")} == {"digits", "fashion-mnist", "glyphs"}
