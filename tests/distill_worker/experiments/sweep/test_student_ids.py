"""The id of a student is that of its meaning: what it is trained with and on, not where, how fast, or by how many."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.cells import merged
from distill_worker.experiments.sweep.directory import SweepDirectory
from distill_worker.experiments.sweep.grid import parse_sweep
from distill_worker.experiments.sweep.students import resolved_grid
from distill_worker.runs import resolution
from tests.distill_worker.experiments.engines.students import DIES, NOTHING, write_network
from tests.distill_worker.experiments.sweep.files import BASE

OWN = {"compare": {"teacher": {"network": "resnet8", "steps": 3}}}


def ids_of(differing: dict[str, Any], *, folder: Path = Path("/nowhere")) -> list[str]:
    """The ids of CE and KD, two seeds each."""
    sweep = parse_sweep(merged(BASE, differing), folder / "sweep.toml")
    return [student.id for student in resolved_grid(sweep, SweepDirectory(folder / "out")).students]


def _shuffled(value: Any, draw: random.Random) -> Any:
    if not isinstance(value, dict):
        return value
    items = list(value.items())
    draw.shuffle(items)
    return {key: _shuffled(part, draw) for key, part in items}


@given(
    draw=st.randoms(),
    threads=st.integers(1, 64),
    jobs=st.integers(1, 64),
    place=st.text("abc", min_size=1, max_size=5),
    checkpoint_every=st.integers(1, 999),
    request_size=st.integers(1, 99),
)
def test_id_depends_on_no_order_place_or_speed(
    draw: random.Random, threads: int, jobs: int, place: str, checkpoint_every: int, request_size: int
) -> None:
    same = {
        "data": {"root": f"/{place}"},
        "training": {"threads": threads, "checkpoint_every": checkpoint_every, "device": "auto"},
        "teacher": {"request_size": request_size, "price_per_call": 0.5},
        "compare": {"jobs": jobs, "directory": f"/{place}/out", "cache": f"/{place}/c.sqlite", "baseline": "KD"},
    }
    assert ids_of(_shuffled(same, draw), folder=Path(f"/{place}")) == ids_of({})


@pytest.mark.parametrize(
    "other",
    [
        {"student": {"network": "resnet14"}},
        {"student": {"image_size": [12, 12]}},
        {"training": {"steps": 5}},
        {"training": {"precision": "bfloat16"}},
        {"training": {"budget": "90 s"}},
        {"track": "labelled-pool"},
        {"augmentation": {"policy": "strong"}},
        {"corruption": {"label_noise": {"rate": 0.5}}},
        {"budget": {"strategy": "class-balanced"}},
        {"data": {"name": "fashion-mnist"}},
        {"compare": {"n": [6]}},
    ],
    ids=str,
)
def test_id_depends_on_every_setting_of_the_student(other: dict[str, Any]) -> None:
    base = {"training": {"precision": "float32"}}
    assert not set(ids_of(merged(base, other))) & set(ids_of(base))


@pytest.mark.parametrize(
    "other",
    [
        {"teacher": {"model": "other"}},
        {"teacher": {"model_version": "2"}},
        {"teacher": {"url": "http://other"}},
        {"teacher": {"output": "label"}},
        OWN,
    ],
    ids=str,
)
def test_id_depends_on_the_teacher_unless_the_method_has_none(other: dict[str, Any]) -> None:
    """CE learns from labels alone, so points with different teachers share its students."""
    ids, others = ids_of({}), ids_of(other)
    assert ids[:2] == others[:2]
    assert not set(ids[2:]) & set(others[2:])
    assert len(set(ids)) == 4


def test_own_teacher_is_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_URL", "http://127.0.0.1:1")
    ids = ids_of(OWN)
    assert ids == ids_of(merged(OWN, {"compare": {"quota": 99}, "teacher": {"model": "unused"}}))
    assert ids[2:] != ids_of(merged(OWN, {"compare": {"teacher": {"steps": 4}}}))[2:]


def test_files_count_by_what_is_in_them(tmp_path: Path) -> None:
    """A data set of the user's own, and the code of a network, at two places."""

    def ids(place: str, *, images: int, event: str) -> list[str]:
        folder = tmp_path / place
        folder.mkdir()
        (folder / "sweep.toml").touch()  # so that its paths start there
        write_network(folder, event)
        draws = np.random.default_rng(images)
        arrays: dict[str, Any] = {
            "train_images": draws.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8),
            "train_labels": np.arange(40) % 4,
            "test_images": draws.integers(0, 256, (8, 8, 8, 1), dtype=np.uint8),
            "test_labels": np.arange(8) % 4,
        }
        np.savez(folder / "data.npz", **arrays)
        data = {"name": "npz", "path": str(folder / "data.npz")}
        return ids_of({"data": data, "student": {"network": "net.py:Net"}}, folder=folder)

    first = ids("first", images=0, event=NOTHING)
    assert ids("moved", images=0, event=NOTHING) == first
    assert not set(ids("other-data", images=1, event=NOTHING)) & set(first)
    assert not set(ids("other-code", images=0, event=DIES)) & set(first)


def test_network_whose_code_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"student\.network: .*cannot read"):
        ids_of({"student": {"network": "absent.py:Net"}})


def test_auto_stays_what_the_sweep_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So machines of several types share one sweep: they train the same students."""
    directory = SweepDirectory(tmp_path / "out")
    sweep = parse_sweep(BASE, tmp_path / "sweep.toml")
    monkeypatch.setattr(resolution, "automatic_precision", lambda _device: "bfloat16")
    grid = resolved_grid(sweep, directory)
    facts = [student.facts() for student in grid.students]
    directory.claim({"settings": {}, "settled": grid.settled, "students": facts}, extend=False)
    monkeypatch.setattr(resolution, "automatic_precision", lambda _device: "float32")
    again = resolved_grid(sweep, directory)
    assert [student.id for student in again.students] == [student.id for student in grid.students]
    assert {student.cell.config.training.memory_format for student in again.students} == {"channels_last"}
