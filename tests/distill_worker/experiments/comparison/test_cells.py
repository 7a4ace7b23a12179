"""What a comparison's file says: every cell a run of its own, checked whole before anything is spent."""

import re
from pathlib import Path
from typing import Any

import pytest

from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.cells import load_comparison, parse_comparison
from distill_worker.experiments.comparison.joint_purchase import distinct_purchases

COMPARE: dict[str, Any] = {
    "directory": "runs/c",
    "n": [20, 10],
    "seeds": 2,
    "baseline": "KD",
    "methods": [
        {"label": "CE", "method": {"name": "ce"}},
        {"label": "KD", "method": {"name": "kd"}},
        {"label": "CKD + KD", "method": {"name": "ckd"}, "plus": [{"name": "kd"}]},
    ],
}
BASE: dict[str, Any] = {"data": {"name": "digits"}, "student": {"network": "resnet8"}, "training": {"steps": 5}}


def test_cells_are_every_method_n_and_seed_each_in_its_own_directory() -> None:
    comparison = parse_comparison({**BASE, "compare": COMPARE}, source="c.toml")
    assert len(comparison.cells) == 3 * 2 * 2
    assert len({cell.config.output.directory for cell in comparison.cells}) == 12
    assert {cell.config.output.cache for cell in comparison.cells} == {Path("runs/c/cache.sqlite")}
    last = comparison.cells[-1].config
    assert [method.__class__.__name__ for method in last.methods] == ["CKD", "KD"]
    assert (last.budget.n, last.budget.seed, last.training.seed, last.training.steps) == (10, 0, 1, 5)


@pytest.mark.parametrize(
    ("setting", "seeds"), [({}, {0}), ({"same_samples": True}, {0}), ({"same_samples": False}, {0, 1})]
)
def test_seeds_use_the_same_samples_unless_they_are_to_differ(setting: dict[str, bool], seeds: set[int]) -> None:
    compare = {**COMPARE, **setting}
    cells = parse_comparison({**BASE, "compare": compare}, source="c.toml").cells
    assert {cell.config.budget.seed for cell in cells} == seeds
    assert {cell.config.training.seed for cell in cells} == {0, 1}


def test_reference_alone_is_trained_at_the_other_sizes_of_its_curve() -> None:
    compare = {**COMPARE, "reference": "KD", "reference_n": [10, 40, 80, 5, 160]}
    cells = parse_comparison({**BASE, "compare": compare}, source="c.toml").cells
    trained = {n: {cell.label for cell in cells if cell.n == n} for n in (20, 10, 40, 80, 5, 160)}
    assert trained == {n: {"CE", "KD", "CKD + KD"} if n in (20, 10) else {"KD"} for n in trained}
    assert len(cells) == 2 * (2 * 3 + 4)
    assert [cell.n for cell in distinct_purchases(cells)] == [160, 80, 40, 20, 10, 5]


def _with_settings(settings: Any) -> dict[str, Any]:
    """A comparison whose second row alone has these settings."""
    ce, kd, ckd = COMPARE["methods"]
    return {**BASE, "compare": {**COMPARE, "methods": [ce, {**kd, "settings": settings}, ckd]}}


def test_settings_of_a_row_override_the_shared_ones_key_by_key() -> None:
    """And no other row's."""
    settings = {
        "track": "labelled-pool",
        "training": {"learning_rate": 0.1},
        "student": {"network": "resnet20"},
        "corruption": {"label_noise": {"rate": 0.25}},
    }
    document = _with_settings(settings)
    document |= {"corruption": {"seed": 3}, "budget": {"strategy": "class-balanced"}}
    for cell in parse_comparison(document, source="c.toml").cells:
        config, is_own = cell.config, cell.label == "KD"
        assert config.track == ("labelled-pool" if is_own else "queried")
        assert config.student.network == ("resnet20" if is_own else "resnet8")
        assert (config.training.steps, config.training.learning_rate) == (5, 0.1 if is_own else 0.05)
        assert (config.corruption.seed, config.corruption.label_noise is not None) == (3, is_own)
        assert (config.budget.strategy, config.budget.n, config.training.seed) == ("class-balanced", cell.n, cell.seed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": {"name": "digits"}}, "compare.methods.1.settings: expected no value of data, which all rows share"),
        ({"teacher": {}}, "settings: expected no value of teacher, which all rows share"),
        ({"output": {}}, "settings: expected no value of output, which [compare] sets"),
        ({"method": {"name": "kd"}}, "settings: expected no value of method, which stands beside settings"),
        ({"budget": {"n": 5}}, "settings: expected no value of budget.n, which compare.n sets, got 5"),
        ({"training": {"seed": 1}}, "settings: expected no value of training.seed, which the comparison sets, got 1"),
        ({"training": {"threads": 2}}, "settings: expected no value of training.threads, which all rows share, got 2"),
        ({"training": {"step": 2}}, "'KD': training.step: unknown key; did you mean 'steps'?; expected one of seed"),
        ({"training": 3}, "'KD': training: expected a section, got 3"),
        ({"trainings": {}}, "'KD': trainings: unknown key"),
        ({"compare": {}}, "'KD': compare: unknown key"),
        (3, "compare.methods.1.settings: "),
    ],
)
def test_mistake_in_the_settings_of_a_row_is_named(settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=r"^c\.toml.*" + re.escape(message)):
        parse_comparison(_with_settings(settings), source="c.toml")


def test_shared_section_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'CE': budget: expected a section, got 3"):
        parse_comparison({**BASE, "budget": 3, "compare": COMPARE}, source="c.toml")


def test_paths_in_the_settings_of_a_row_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "c.toml").write_text(
        """
data.name = "digits"
student.network = "resnet8"
[compare]
directory = "c"
n = [8]
seeds = 1
[[compare.methods]]
label = "KD"
method.name = "kd"
settings.student.network = "net.py:make"
settings.budget = {strategy = "typical", features = "net.safetensors"}
"""
    )
    [cell] = load_comparison(tmp_path / "c.toml").cells
    assert cell.config.student.network_to_build == f"{tmp_path / 'net.py'}:make"
    assert cell.config.budget.features == str(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("settings", "purchases"),
    [
        ({"training": {"steps": 7, "learning_rate": 0.1}, "augmentation": {"crop_padding": 1}}, 2),
        ({"student": {"network": "resnet20"}, "track": "labelled-pool"}, 2),
        ({"training": {"validation_share": 0.2}}, 4),
        ({"budget": {"strategy": "class-balanced"}}, 4),
        ({"augmentation": {"policy": "strong"}}, 2),
        ({"augmentation": {"query_view": "augmented"}}, 4),
    ],
)
def test_rows_have_one_purchase_unless_they_select_other_samples(settings: dict[str, Any], purchases: int) -> None:
    """Two sizes. Validation samples are not bought, so a row that has some takes others in their place."""
    assert len(distinct_purchases(parse_comparison(_with_settings(settings), source="c.toml").cells)) == purchases


def test_same_samples_are_bought_once_for_all_methods_the_largest_n_first() -> None:
    compare = {**COMPARE, "same_samples": False}
    bought = distinct_purchases(parse_comparison({**BASE, "compare": compare}, source="c.toml").cells)
    assert [(cell.n, cell.seed) for cell in bought] == [(20, 0), (20, 1), (10, 0), (10, 1)]
    assert all(cell.config.needs_teacher for cell in bought)


@pytest.mark.parametrize("cache", ["/elsewhere/cache.sqlite", "postgresql://host/database"])
def test_cache_may_be_elsewhere(cache: str) -> None:
    cells = parse_comparison({**BASE, "compare": {**COMPARE, "cache": cache}}, source="c.toml").cells
    assert {str(cell.config.output.cache) for cell in cells} == {cache}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "RKD"}, r"compare\.baseline: expected one of CE, KD, CKD \+ KD, got 'RKD'"),
        ({"methods": [COMPARE["methods"][1]] * 2}, r"compare\.methods: expected different labels, got KD, KD"),
        (
            {"methods": [{"label": label, "method": {"name": "kd"}} for label in ("KD T", "KD-T")], "baseline": None},
            r"compare\.methods: expected different labels, got KD T, KD-T; the folders of two rows would be the same",
        ),
        ({"seeds": 0}, r"compare\.seeds: .*at least 1, got 0"),
        ({"repeats": 3}, r"compare\.repeats: unknown key; expected one of directory, n, seeds"),
        (
            {"methods": [{"label": "X", "method": {"name": "kd", "temperature": 0}}], "baseline": None},
            r"'X'.*method\.temp",
        ),
        ({"methods": [{"label": "X/Y", "method": {"name": "kd"}}], "baseline": None}, r"compare\.methods\.0\.label"),
        ({"n": []}, r"compare\.n: "),
        ({"n": [20, 20]}, r"compare\.n: expected different sizes, got 20, 20"),
        (
            {"reference": "kd", "reference_n": [5, 6, 7, 8]},
            r"compare\.reference: expected one of CE, KD, CKD \+ KD, got 'kd'",
        ),
        ({"reference_n": [5]}, r"reference_n: expected no value without reference, got \[5\]"),
        (
            {"reference": "KD", "reference_n": [10, 30, 40, 50]},
            r"reference_n: expected at least 6 sizes with those of n, .*got 10, 20, 30, 40, 50",
        ),
        ({"engine": "dask"}, r"compare\.engine: .*'local'.*'ray'.*'dask'"),
        ({"address": "auto"}, r"compare.*address: expected no value with engine = 'local', got 'auto'"),
        ({"gpus_per_student": 0.5}, r"compare.*gpus_per_student: expected no value with engine = 'local', got 0\.5"),
    ],
)
def test_mistake_is_told_with_its_key(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=r"^c\.toml.*" + message):
        parse_comparison({**BASE, "compare": {**COMPARE, **change}}, source="c.toml")


@pytest.mark.parametrize("section", ["method", "plus", "output"])
def test_what_a_comparison_says_itself_is_not_said_again(section: str) -> None:
    with pytest.raises(ConfigError, match=rf"{section}: unknown key; in a comparison, set it in \[compare\]"):
        parse_comparison({**BASE, section: {}, "compare": COMPARE}, source="c.toml")


def test_settings_of_the_command_line_override_those_of_the_file(tmp_path: Path) -> None:
    """None overrides nothing. No setting of an engine is a part of a run."""
    (tmp_path / "c.toml").write_text(
        """
data.name = "digits"
student.network = "resnet8"
[compare]
directory = "c"
n = [8]
jobs = 3
methods = [{label = "CE", method = {name = "ce"}}]
"""
    )
    plain = load_comparison(tmp_path / "c.toml", {"engine": None, "jobs": None})
    other = load_comparison(tmp_path / "c.toml", {"engine": "ray", "address": "auto", "jobs": 2})
    assert (plain.compare.engine, plain.compare.jobs) == ("local", 3)
    assert (other.compare.engine, other.compare.address, other.compare.jobs) == ("ray", "auto", 2)
    assert [cell.config for cell in other.cells] == [cell.config for cell in plain.cells]


def test_file_of_a_single_run_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[data]\nname = "digits"\n')
    with pytest.raises(ConfigError, match="this is the file of a single run"):
        load_comparison(tmp_path / "run.toml")
