"""What the file of a sweep says: every combination of its axes is one comparison, checked before anything is spent."""

from pathlib import Path
from typing import Any

import pytest

from distill_worker.errors import ConfigError
from distill_worker.experiments.sweep.grid import load_sweep, parse_sweep
from tests.distill_worker.experiments.sweep.files import BASE, COMPARE, GRID, sweep_of

POINTS: list[dict[str, Any]] = [
    {"label": "none"},
    {"label": "half", "settings": {"corruption": {"label_noise": {"rate": 0.5}}, "compare": {"n": [6, 4]}}},
]


def test_every_combination_is_a_point(tmp_path: Path) -> None:
    """The last axis changes fastest; a table is named by its label, or by its values."""
    sweep = sweep_of(tmp_path, sweep={"grid": GRID})
    assert sweep.axes == ("student.network", "compare.teacher")
    assert [tuple(point.values.values()) for point in sweep.points] == [
        (network, teacher)
        for network in ("resnet8", "resnet14")
        for teacher in ("small", "network = resnet14, steps = 5")
    ]
    built = [
        (point.comparison.cells[0].config.student.network, point.comparison.compare.teacher) for point in sweep.points
    ]
    assert [(network, teacher.network, teacher.steps) for network, teacher in built if teacher] == [
        ("resnet8", "resnet8", 3),
        ("resnet8", "resnet14", 5),
        ("resnet14", "resnet8", 3),
        ("resnet14", "resnet14", 5),
    ]
    assert (
        sweep.points[1]
        .comparison.cells[0]
        .title.startswith("student.network = resnet8, compare.teacher = network = resnet14, steps = 5: CE, n = 8")
    )


def test_settings_that_belong_together_are_one_axis(tmp_path: Path) -> None:
    """It is combined with the grid; a table is merged into that of the file."""
    grid = {"training.steps": [4, 8]}
    sweep = sweep_of(tmp_path, sweep={"points": POINTS, "grid": grid})
    assert [tuple(point.values.items()) for point in sweep.points] == [
        (("point", label), ("training.steps", steps)) for label in ("none", "half") for steps in ("4", "8")
    ]
    last = sweep.points[-1].comparison
    config = last.cells[0].config
    assert (last.compare.n, config.training.steps, config.training.batch_size) == ((6, 4), 8, 4)
    assert config.corruption.label_noise is not None
    assert sweep.points[0].comparison.cells[0].config.corruption.label_noise is None


def test_optional_point_is_left_out_where_its_data_are_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    points = [{"label": name, "optional": True, "settings": {"data": {"name": name}}} for name in ("digits", "svhn")]
    notes: list[str] = []
    path = tmp_path / "sweep.toml"
    sweep = parse_sweep({**BASE, "sweep": {"points": points}}, path, on_note=notes.append)
    assert [point.title for point in sweep.points] == ["digits"]
    assert notes == [f"svhn: left out, because svhn is not in {tmp_path / 'data'}"]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train_32x32.mat").touch()
    assert [point.title for point in sweep_of(tmp_path, sweep={"points": points}).points] == ["digits", "svhn"]


def test_optional_points_alone_need_the_data_of_one(tmp_path: Path) -> None:
    own = {"data": {"name": "npz", "path": "absent.npz"}}
    with pytest.raises(ConfigError, match=r"sweep.points: expected at least 1 point whose data set is there, got none"):
        sweep_of(tmp_path, sweep={"points": [{"label": "own", "optional": True, "settings": own}]})


def test_without_a_grid_a_sweep_is_the_comparison(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path)
    assert (sweep.axes, len(sweep.points), sweep.points[0].title) == ((), 1, "")
    assert len(sweep.points[0].comparison.cells) == 2 * 2


def test_quick_settings_override_the_file_and_its_grid(tmp_path: Path) -> None:
    quick = {"training": {"steps": 1}, "sweep": {"grid": {"student.network": ["resnet8"]}}}
    sweep = {"grid": {"student.network": ["resnet14", "resnet20"]}, "quick": quick}
    config = sweep_of(tmp_path, quick=True, sweep=sweep).points[0].comparison.cells[0].config
    assert (config.student.network, config.training.steps, config.training.batch_size) == ("resnet8", 1, 4)
    assert len(sweep_of(tmp_path, sweep=sweep).points) == 2


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"grid": {"student.netwrk": ["resnet8"]}}, "sweep, student.netwrk = resnet8: .*student.netwrk: unknown key"),
        (
            {"grid": GRID, "chosen_by_validation": ["student.network"]},
            "chosen_by_validation: expected axes of .training., such as training.learning_rate, got 'student.network'",
        ),
        (
            {"grid": {"training.steps": [4, 8]}, "chosen_by_validation": ["training.steps"]},
            "'CE': training.validation_share: expected more than 0, because sweep.chosen_by_validation .* got 0",
        ),
        (
            {
                "grid": {"training.steps": [4, 8]},
                "chosen_by_validation": ["training.steps"],
                "compares": ["training.steps"],
            },
            "compares: expected one of method, n, got 'training.steps'",
        ),
        ({"grid": {"student.network": []}}, "sweep.grid: student.network: expected at least 1 value, got none"),
        ({"grid": {"student.network": "resnet8"}}, "sweep.grid.student.network: expected a list"),
        ({"grid": {"student.network": ["resnet8", "resnet8"]}}, "expected different values, got resnet8, resnet8"),
        ({"grid": {"training.seed": [0]}}, "training.seed: .* which the comparison sets"),
        ({"grid": {"training.threads": [1]}}, "training.threads: .* which all students share"),
        ({"grid": {"compare.seeds": [2]}}, "expected a setting of track, data, .*, got 'compare.seeds'"),
        ({"grid": {"student": [{"network": "a"}], "student.network": ["b"]}}, "no axis within the axis student"),
        ({"grid": {"data.name": ["digits", "digit"]}}, "sweep, data.name = digit: .*data.name: expected one of"),
        ({"points": [{"label": "a"}, {"label": "a"}]}, "sweep: point: expected different values, got a, a"),
        ({"points": [{"label": "a", "settings": {"compare": {"seeds": 2}}}]}, "got 'compare.seeds'"),
        ({"gird": {}}, "sweep.gird: unknown key"),
    ],
)
def test_wrong_grid_is_named(tmp_path: Path, sweep: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep_of(tmp_path, sweep=sweep)


def test_quick_needs_a_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sweep\.quick: expected a section, because of --quick, got none"):
        sweep_of(tmp_path, quick=True)


def test_file_that_is_no_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compare: required, but absent"):
        load_sweep(str(_file(tmp_path, 'data.name = "digits"\n')))
    with pytest.raises(ConfigError, match="k-swep: expected a TOML file or a preset"):
        load_sweep("k-swep")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_sweep(str(tmp_path / "absent.toml"))


def test_settings_of_a_sweep_are_those_that_students_depend_on(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, compare={**COMPARE, "jobs": 3}, sweep={"grid": GRID, "quick": {"training": {}}})
    assert sweep.settings["training.steps"] == BASE["training"]["steps"]
    assert sweep.settings["sweep.grid.student.network"] == ["resnet8", "resnet14"]
    assert not {"compare.jobs", "compare.directory", "training.device", "sweep.quick.training"} & sweep.settings.keys()


def _file(folder: Path, text: str) -> Path:
    path = folder / "file.toml"
    path.write_text(text)
    return path
