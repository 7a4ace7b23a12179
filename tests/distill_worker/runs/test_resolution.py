"""What `auto` stands for: what a run in the directory began with, or else what the device is good at."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distill_worker.cache import Cache
from distill_worker.config.data_sections import Data
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, RunError
from distill_worker.runs import resolution
from distill_worker.runs.resolution import note_of, resolved, resolved_alike, resolved_like, with_facts_of_teacher
from distill_worker.runs.sampling.saved_selections import SavedSelection, SavedSelections
from distill_worker.training.directory.run_directory import RunDirectory
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.http_teacher import served
from tests.distill_worker.purchases import carry_out

KEPT = Path(__file__).parents[2] / "written_before" / "flat_layout"
BFLOAT16 = ("bfloat16", "channels_last")
FLOAT32 = ("float32", "contiguous")


@pytest.fixture(autouse=True)
def _device_with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device of every test has instructions for bfloat16."""
    monkeypatch.setattr(resolution, "automatic_precision", lambda _device: "bfloat16")


def _config(folder: Path, budget: dict[str, Any] | None = None, **training: Any) -> RunConfig:
    document = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "budget": budget or {"n": 20},
        "training": training,
        "output": {"directory": str(folder)},
    }
    return parse_config(document, source="test")


def _settings(config: RunConfig) -> tuple[str, str]:
    return config.training.precision, config.training.memory_format


def _finish(config: RunConfig) -> None:
    directory = RunDirectory(config.output.directory)
    with directory.opened(config.identity):
        directory.finish(b"", {})


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({}, BFLOAT16),
        ({"precision": "float32"}, FLOAT32),
        ({"precision": "bfloat16"}, BFLOAT16),
        ({"memory_format": "contiguous"}, ("bfloat16", "contiguous")),
        ({"channels_last": True}, BFLOAT16),
        ({"channels_last": False}, ("bfloat16", "contiguous")),
        ({"precision": "float32", "memory_format": "channels_last"}, ("float32", "channels_last")),
    ],
)
def test_run_that_begins_takes_what_the_device_is_good_at(
    training: dict[str, Any], expected: tuple[str, str], tmp_path: Path
) -> None:
    """What is set stays, also by the name that earlier versions had for the memory format."""
    assert _settings(resolved(_config(tmp_path, **training))) == expected


def test_float32_that_is_not_stated_takes_the_fastest_memory_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is stated keeps the layout, and so the bits, of earlier versions."""
    monkeypatch.setattr(resolution, "automatic_precision", lambda _device: "float32")
    assert _settings(resolved(_config(tmp_path, device="cpu"))) == ("float32", "channels_last")
    assert _settings(resolved(_config(tmp_path, device="cpu", precision="float32"))) == FLOAT32


@pytest.mark.parametrize("name", ["finished", "unfinished", "teacher"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_run_of_an_earlier_version_goes_on_in_float32_and_its_memory_format(
    name: str, channels_last: bool, tmp_path: Path
) -> None:
    shutil.copytree(KEPT / name, tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "run.json").read_text())
    stored["identity"]["training"]["channels_last"] = channels_last
    (tmp_path / "run" / "run.json").write_text(json.dumps(stored))
    expected = ("float32", "channels_last" if channels_last else "contiguous")
    assert _settings(resolved(_config(tmp_path / "run"))) == expected
    assert _settings(resolved(_config(tmp_path / "run"), fresh=True)) == BFLOAT16


def test_run_keeps_what_it_began_with_on_another_machine(tmp_path: Path) -> None:
    _finish(_config(tmp_path, precision="float32", memory_format="channels_last"))
    assert _settings(resolved(_config(tmp_path))) == ("float32", "channels_last")
    assert _settings(resolved(_config(tmp_path), fresh=True)) == BFLOAT16


def test_run_that_made_no_progress_keeps_nothing(tmp_path: Path) -> None:
    with RunDirectory(tmp_path).opened(_config(tmp_path, precision="float32", memory_format="contiguous").identity):
        pass
    assert _settings(resolved(_config(tmp_path))) == BFLOAT16


@pytest.mark.parametrize("fresh", [False, True])
def test_run_in_rounds_keeps_what_its_first_selection_was_made_for(fresh: bool, tmp_path: Path) -> None:
    """Samples of the selection may be paid for; `--fresh` leaves it in place."""
    rounds = {"n": 20, "strategy": "entropy", "rounds": 2}
    began = _config(tmp_path, rounds, precision="float32", memory_format="contiguous")
    saved = SavedSelections.in_run(began)
    with saved.locked():
        of = dict(saved.identity.values)
        saved.write(SavedSelection(round=1, strategy="random", seed=0, of=of, keys=("00",)))
    config = resolved(_config(tmp_path, rounds), fresh=fresh)
    assert _settings(config) == FLOAT32
    assert len(SavedSelections.in_run(config).read()) == 1


def test_compared_runs_train_alike(tmp_path: Path) -> None:
    """A comparison that an earlier version began goes on in its precision, also with the students it did not begin."""
    _finish(_config(tmp_path / "b", precision="float32", memory_format="contiguous"))
    configs = [_config(tmp_path / name) for name in "abc"]
    assert [_settings(config) for config in resolved_alike(configs)] == [FLOAT32] * 3
    assert [_settings(config) for config in resolved_alike(configs, fresh=True)] == [BFLOAT16] * 3


def test_compared_run_with_its_own_precision_sets_it_for_no_other(tmp_path: Path) -> None:
    """Of three rows, the one that states float32 alone has begun."""
    stated = _config(tmp_path / "a", precision="float32")
    _finish(resolved(stated))
    configs = [stated, _config(tmp_path / "b"), _config(tmp_path / "c")]
    assert [_settings(config) for config in resolved_alike(configs)] == [FLOAT32, BFLOAT16, BFLOAT16]


def test_teacher_of_a_comparison_trains_as_its_students_do_unless_it_began(tmp_path: Path) -> None:
    """Its outputs are the students' targets, so they depend on its precision."""
    student = resolved(_config(tmp_path / "student", precision="float32"))
    assert _settings(resolved_like(_config(tmp_path / "teacher"), student)) == FLOAT32
    _finish(_config(tmp_path / "teacher", precision="bfloat16", memory_format="channels_last"))
    assert _settings(resolved_like(_config(tmp_path / "teacher"), student)) == BFLOAT16


def test_compared_runs_read_pictures_by_the_rules_that_the_first_of_them_began_with(tmp_path: Path) -> None:
    """An earlier version began one, and named no rules. The teacher that they have in common follows."""

    def of_pictures(name: str) -> RunConfig:
        config = _config(tmp_path / name)
        return config.model_copy(update={"data": Data(name="image-folder", path=tmp_path)})

    began = of_pictures("b")
    _finish(began)
    configs = resolved_alike([of_pictures(name) for name in "abc"])
    assert [config.data.rules for config in configs] == [1] * 3
    assert resolved(began).data.rules == 1
    assert resolved_like(of_pictures("teacher"), configs[0]).data.rules == 1
    assert [config.data.rules for config in resolved_alike([configs[0], of_pictures("d")], fresh=True)] == [1, None]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"identity": []}', '{"identity": {"training": 3}}'])
def test_directory_that_cannot_be_read_keeps_nothing(content: str, tmp_path: Path) -> None:
    """Opening it reports what is wrong."""
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "result.json").write_text("{}")
    assert _settings(resolved(_config(tmp_path))) == BFLOAT16


def test_run_of_a_later_version_in_another_precision_is_another_run(tmp_path: Path) -> None:
    """It does not go on in float32 under that name."""
    _finish(_config(tmp_path, precision="float32"))
    path = tmp_path / "run.json"
    path.write_text(path.read_text().replace('"precision": "float32"', '"precision": "float8"'))
    config = resolved(_config(tmp_path))
    assert config.training.precision == "bfloat16"
    with pytest.raises(RunError, match=r"training.precision: 'float8' in the directory, 'bfloat16' now"):
        RunDirectory(tmp_path).check(config.identity)


def test_note_says_what_the_student_trains_in_and_whether_it_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolution, "has_bfloat16", lambda _device: False)
    slow = resolved(_config(tmp_path, device="cpu", precision="bfloat16")).training
    assert note_of(slow) == (
        "the student trains in bfloat16, channels_last, on cpu; this device has no instructions for bfloat16: float32 "
        "is faster on it"
    )
    plain = resolved(_config(tmp_path, device="cpu", precision="float32", compile=True)).training
    assert note_of(plain) == (
        "the student trains in float32, contiguous, on cpu, compiled, which takes up to a minute, for the checks and "
        "for the training"
    )


def _unlabelled(folder: Path, **sections: Any) -> RunConfig:
    """A run on images without labels, whose teacher has the stated address."""
    return parse_config(
        {
            "data": {"name": "image-folder", "path": str(folder), "labels": "none", **sections.pop("data", {})},
            "student": {"network": "resnet8"},
            "method": {"name": "kd"},
            "budget": {"n": 20},
            "output": {"directory": str(folder / "run"), "cache": str(folder / "cache.sqlite")},
            **sections,
        },
        source="test",
    )


def test_classes_of_unlabelled_images_come_from_the_file_or_the_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file states stays; else the teacher says it, for free, with the size of its images."""
    teacher = FakeTeacher(description=describe(shape=(1, 6, 5)))
    stated = with_facts_of_teacher(
        _unlabelled(tmp_path, data={"class_names": ["a", "b"], "image_size": [8, 8]}), asks=False
    )
    assert (stated.data.class_names, stated.data.image_size) == (("a", "b"), (8, 8))
    with pytest.raises(ConfigError, match="this command contacts no teacher; buy outputs with distill-worker fetch"):
        with_facts_of_teacher(_unlabelled(tmp_path), asks=False)
    with served(teacher) as url:
        monkeypatch.setenv("TEACHER_URL", url)
        whole = with_facts_of_teacher(_unlabelled(tmp_path))
        part = with_facts_of_teacher(_unlabelled(tmp_path, data={"class_names": ["a", "b", "c"]}))
    assert (whole.data.class_names, whole.data.image_size, teacher.paid) == (("0", "1", "2"), (6, 5), 0)
    assert (part.data.class_names, part.data.image_size) == (("a", "b", "c"), (6, 5))


def test_classes_that_came_with_outputs_are_enough_without_a_teacher(
    tmp_path: Path, samples: dict[bytes, NDArray[np.uint8]]
) -> None:
    """Whatever its address was, and whichever key bought them."""
    teacher = FakeTeacher()
    with Cache(tmp_path / "cache.sqlite") as cache:
        carry_out(teacher, cache, samples)
        cache.save_class_names("t", ("ant", "bee", "cow"))
    assert with_facts_of_teacher(_unlabelled(tmp_path), asks=False).data.class_names == ("ant", "bee", "cow")


@pytest.mark.parametrize(
    ("image_size", "network"), [([8, 8], "resnet8x4"), ([64, 64], "resnet8x4"), ([65, 32], "torchvision:resnet18")]
)
def test_network_of_unlabelled_images_fits_their_size(image_size: list[int], network: str, tmp_path: Path) -> None:
    data = {"class_names": ["a", "b"], "image_size": image_size}
    config = _unlabelled(tmp_path, data=data, student={"network": "auto"})
    assert with_facts_of_teacher(config, asks=False).student.network == network
    with pytest.raises(ConfigError, match=r"student\.network: expected the name of a network, because neither"):
        with_facts_of_teacher(
            _unlabelled(tmp_path, data={"class_names": ["a", "b"]}, student={"network": "auto"}), asks=False
        )
