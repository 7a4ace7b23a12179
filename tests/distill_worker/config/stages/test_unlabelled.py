"""A run on images without labels: what its file may leave out, and what it may not state."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError


def _config(data: dict[str, Any] | None = None, **sections: Any) -> RunConfig:
    base = {"student": {"network": "resnet8"}, "budget": {"n": 300}, "method": {"name": "kd"}}
    return parse_config({**base, "data": data or {"name": "digits", "labels": "none"}, **sections}, source="test")


def _picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


def test_flat_folder_and_list_have_no_labels(tmp_path: Path) -> None:
    _picture(tmp_path / "flat" / "a.png")
    _picture(tmp_path / "classes" / "cat" / "a.png")
    (tmp_path / "mine.txt").write_text("flat/a.png\n")
    found = {
        name: _config({"name": "image-folder", "path": str(tmp_path / name)}).data.labels
        for name in ("flat", "classes", "mine.txt", "gone")
    }
    assert found == {"flat": "none", "classes": "given", "mine.txt": "none", "gone": "given"}
    stated = _config({"name": "image-folder", "path": str(tmp_path / "flat"), "labels": "given"})
    assert stated.data.labels == "given", "what the file states stays"


@pytest.mark.parametrize(
    "method",
    [{"name": name} for name in ("kd", "dkd", "lskd", "mse", "dist", "ttm", "wttm", "mixup")]
    + [{"name": "ckd", "pairing": "anchors"}, {"name": "ckd", "comparison": "addition"}],
    ids=lambda method: method["name"],
)
def test_cross_entropy_with_labels_is_off(method: dict[str, Any]) -> None:
    assert _config(method=method).method.label_weight == 0
    assert _config({"name": "digits"}, method=method).method.label_weight > 0


@pytest.mark.parametrize("name", ["ckd", "rkd", "sp", "cc", "pkt", "fitnet"])
def test_comparisons_are_added_to_a_method_that_shows_the_classes(name: str) -> None:
    config = _config(plus=[{"name": name}])
    assert [method.teaches_classes for method in config.methods] == [True, False]


def test_cross_entropy_is_off_in_what_auto_chooses() -> None:
    config = parse_config(
        {"data": {"name": "digits", "labels": "none"}, "student": {"network": "resnet8"}, "budget": {"n": 300}},
        source="test",
    )
    assert [method.label_weight for method in config.methods[:1]] == [0]
    assert config.data_used == "unlabelled-pool, unlabelled"
    assert config.track == "unlabelled-pool"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"method": {"name": "kd", "label_weight": 1}}, r"method\.label_weight: expected 0, got 1"),
        ({"method": {"name": "ce"}}, "expected one that shows which class is which, such as kd, got ce alone"),
        ({"method": {"name": "fitnet"}}, "such as kd, got fitnet alone"),
        ({"method": {"name": "ckd"}}, "such as kd, got ckd alone"),
        ({"track": "labelled-pool"}, r"expected 'queried' or 'unlabelled-pool', got 'labelled-pool'"),
        ({"budget": {"n": 300, "strategy": "class-balanced"}}, "expected a strategy without labels"),
        ({"training": {"validation_share": 0.2}}, r"training\.validation_share: expected 0, got 0.2"),
        ({"corruption": {"label_noise": {"rate": 0.1}}}, "corruption: expected no value"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_what_needs_labels_is_refused_with_the_reason(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"{message}.*because the data have no labels \(data\.labels = 'none'\)"):
        _config(**sections)


def test_names_of_classes_are_for_data_that_do_not_name_them(tmp_path: Path) -> None:
    own = {"name": "npz", "path": str(tmp_path / "x.npz"), "class_names": ["a", "b"]}
    assert _config({**own, "labels": "none"}).data.class_names == ("a", "b")
    with pytest.raises(ConfigError, match=r"class_names: expected no value, because the data name their classes"):
        _config(own)
    with pytest.raises(ConfigError, match="expected a name of its own for each class, got one several times"):
        _config({**own, "labels": "none", "class_names": ["a", "a"]})


@pytest.mark.parametrize(
    ("n", "held_out", "folds"),
    [(8, 0, 0), (10, 0, 5), (199, 0, 5), (200, 50, 0), (500, 50, 0), (501, 51, 0), (5000, 500, 0)],
)
def test_samples_are_held_out_where_they_can_be_spared(n: int, held_out: int, folds: int) -> None:
    """The larger of 50 and a tenth of n, and from 200 on; below, students of a part stand in."""
    config = _config(budget={"n": n}, training={"batch_size": 8})
    assert config.budget.held_out(60_000, has_labels=False) == held_out
    assert config.fidelity_folds == folds
    labelled = _config({"name": "digits"}, budget={"n": n}, training={"batch_size": 8})
    assert (labelled.budget.held_out(60_000, has_labels=True), labelled.fidelity_folds) == (0, 0)


def test_holdout_that_is_stated_stays() -> None:
    for n, holdout in ((100, 20), (1000, 0)):
        config = _config(budget={"n": n, "holdout": holdout})
        assert (config.budget.held_out(5000, has_labels=False), config.fidelity_folds) == (holdout, 0)
    assert _config({"name": "digits"}, budget={"n": 100, "holdout": 20}).budget.held_out(5000, has_labels=True) == 20
    with pytest.raises(ConfigError, match=r"holdout: expected fewer than n, .* got 99"):
        _config(budget={"n": 100, "holdout": 99})
