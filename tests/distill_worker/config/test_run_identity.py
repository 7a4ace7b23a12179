"""A setting that is added later makes no run another; a setting that was changed does, and is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from distill_worker.config.data_sections import Budget
from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import RunIdentity
from distill_worker.config.training_section import Student, Training
from distill_worker.errors import RunError
from distill_worker.methods.single_sample import KD
from distill_worker.runs.sampling.saved_selections import SavedSelection, SavedSelections
from distill_worker.training.directory.run_directory import RunDirectory

SETTINGS: dict[str, Any] = {
    "data": {"name": "digits"},
    "student": {"network": "resnet8"},
    "method": {"name": "kd", "temperature": 3},
    "plus": [{"name": "fitnet"}],
    "budget": {"n": 50, "strategy": "k-center"},
    "corruption": {"label_noise": {"rate": 0.2}},
}
_PRECISION = ("precision", "memory_format")
WRITTEN_BEFORE = sorted((Path(__file__).parents[2] / "written_before").rglob("run.json"))


class LaterTraining(Training):
    """`Training` with one more setting."""

    nesterov: bool = False


class LaterStudent(Student):
    """`Student` with one more setting."""

    dropout: float = 0.0


class LaterBudget(Budget):
    """`Budget` with one more setting."""

    replacement: bool = False


class LaterKD(KD):
    """`KD` with one more setting."""

    clip: float | None = None


class LaterConfig(RunConfig):
    """A configuration of a later version: in each section, one more setting that has a default."""

    training: LaterTraining = LaterTraining()
    student: LaterStudent
    budget: LaterBudget = LaterBudget()
    method: LaterKD
    mirror: bool = False


def _stored(**changed: Any) -> Any:
    """The identity that today's version writes."""
    config = RunConfig.model_validate({**SETTINGS, **changed})
    return json.loads(json.dumps(config.identity.values))


def _later(**changed: Any) -> LaterConfig:
    return LaterConfig.model_validate({**SETTINGS, **changed})


def test_run_stays_the_same_when_settings_with_defaults_are_added() -> None:
    assert _later().identity.difference(_stored()) is None


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"training": {"nesterov": True}}, "training.nesterov: not set in the directory, True now"),
        ({"student": {"network": "resnet8", "dropout": 0.1}}, "student.dropout: not set in the directory, 0.1 now"),
        ({"method": {**SETTINGS["method"], "clip": 2}}, "method.clip: not set in the directory, 2.0 now"),
        ({"mirror": True}, "mirror: not set in the directory, True now"),
        ({"training": {"steps": 700}}, "training.steps: 600 in the directory, 700 now"),
        ({"budget": {"n": 50}}, "budget.strategy: 'k-center' in the directory, 'random' now"),
        ({"corruption": {}}, "corruption.label_noise: {'kind': 'symmetric', 'rate': 0.2} in the directory, None now"),
        ({"plus": [{"name": "fitnet", "weight": 7}]}, "plus.0.weight: 100.0 in the directory, 7.0 now"),
    ],
)
def test_changed_setting_makes_another_run_and_is_named_with_both_values(
    changed: dict[str, Any], difference: str
) -> None:
    assert _later(**changed).identity.difference(_stored()) == difference


def test_another_method_is_named_and_what_follows_from_it_is_counted() -> None:
    config = RunConfig.model_validate({**SETTINGS, "method": {"name": "ckd"}})
    difference = config.identity.difference(_stored())
    assert difference is not None
    assert "method.name: 'kd' in the directory, 'ckd' now" in difference
    assert difference.endswith(" more")


def test_setting_that_no_longer_exists_makes_another_run_and_is_named() -> None:
    """Its value may have had a part in the result, and there is none now to compare it with."""
    stored = _stored()
    stored["training"]["nesterov"] = True
    difference = RunConfig.model_validate(SETTINGS).identity.difference(stored)
    assert difference == "training.nesterov: True in the directory, unknown to this version"


def test_run_of_another_default_is_another_run() -> None:
    """What was made with 600 steps is no result of 900, though neither run sets them."""

    class LongerTraining(Training):
        steps: int = 900

    class LongerConfig(RunConfig):
        training: LongerTraining = LongerTraining()

    difference = LongerConfig.model_validate(SETTINGS).identity.difference(_stored())
    assert difference == "training.steps: 600 in the directory, 900 now"


def test_identity_from_before_defaults_of_the_budget_were_stored_is_the_same() -> None:
    """Earlier versions left them out."""
    stored = _stored()
    stored["budget"] = {"n": 50, "seed": 0, "strategy": "k-center"}
    assert RunConfig.model_validate(SETTINGS).identity.difference(stored) is None


def test_default_of_the_budget_that_was_not_stored_keeps_its_value_when_the_default_changes() -> None:
    """A directory that lacks defaults of the budget is another run than one of later defaults."""

    class OtherBudget(Budget):
        strategy: str = "entropy"
        rounds: int = 2
        first: str = "typical"

    class OtherConfig(RunConfig):
        budget: OtherBudget = OtherBudget(n=50)

    stored = _stored()
    stored["budget"] = {"n": 50, "seed": 0}
    document = {**SETTINGS, "budget": {"n": 50}}
    assert RunConfig.model_validate(document).identity.difference(stored) is None
    assert OtherConfig.model_validate(document).identity.difference(stored) == (
        "budget.first: 'random' in the directory, 'typical' now; budget.rounds: 1 in the directory, 2 now; "
        "budget.strategy: 'random' in the directory, 'entropy' now"
    )


@pytest.mark.parametrize(
    "stored", [{"precision": "bfloat16", "memory_format": "channels_last"}, {"channels_last": True}]
)
def test_precision_that_is_auto_differs_from_none(stored: dict[str, Any]) -> None:
    """It stands for the one that the run began with, also in an earlier version."""
    identity = RunConfig.model_validate(SETTINGS).identity
    training = {name: value for name, value in _stored()["training"].items() if name not in _PRECISION}
    assert identity.difference({**_stored(), "training": {**training, **stored}}) is None


@pytest.mark.parametrize(
    ("training", "difference"),
    [
        ({"precision": "float32", "memory_format": "channels_last"}, None),
        ({"precision": "bfloat16"}, "training.precision: 'float32' in the directory, 'bfloat16' now"),
        (
            {"memory_format": "contiguous"},
            "training.memory_format: 'channels_last' in the directory, 'contiguous' now",
        ),
        ({"compile": True}, "training.compile: not set in the directory, True now"),
    ],
)
def test_run_of_an_earlier_version_has_its_memory_format_and_float32(
    training: dict[str, Any], difference: str | None
) -> None:
    stored = _stored()
    for name in (*_PRECISION, "compile"):
        del stored["training"][name]
    stored["training"]["channels_last"] = True
    config = RunConfig.model_validate({**SETTINGS, "training": training})
    assert config.identity.difference(stored) == difference
    assert config.identity.difference(stored, partial=True) == difference


def test_setting_of_another_method_is_not_called_unknown() -> None:
    identity = RunIdentity({"method": {"name": "ckd"}}, changed={})
    assert identity.difference({"method": {"name": "kd", "clip": 2}}) == (
        "method.name: 'kd' in the directory, 'ckd' now; method.clip: 2 in the directory, not set now"
    )


@pytest.mark.parametrize("stored", [None, [], "a run"])
def test_identity_that_cannot_be_read_is_another_run(stored: object) -> None:
    assert "cannot be read" in (RunConfig.model_validate(SETTINGS).identity.difference(stored) or "")


@pytest.mark.parametrize(
    "changed",
    [{"teacher": {"url": "http://elsewhere"}}, {"output": {"directory": "b"}}, {"training": {"checkpoint_every": 9}}],
)
def test_run_does_not_depend_on_where_its_teacher_and_files_are(changed: dict[str, Any]) -> None:
    assert RunConfig.model_validate({**SETTINGS, **changed}).identity.difference(_stored()) is None


@pytest.mark.parametrize("path", WRITTEN_BEFORE, ids=lambda path: path.parent.name)
def test_directory_written_before_is_the_same_run_under_added_settings(path: Path) -> None:
    """The directory's own identity, as a later configuration would ask for it."""
    stored = json.loads(path.read_text())["identity"]
    facts = {name: stored[name] for name in stored if name not in RunConfig.model_fields}
    sections = {name: stored[name] for name in stored if name in RunConfig.model_fields}

    class Later(RunConfig):
        training: LaterTraining = LaterTraining()
        student: LaterStudent

    assert (Later.model_validate(sections).identity | facts).difference(stored) is None
    sections["training"] = {**sections["training"], "nesterov": True}
    changed = (Later.model_validate(sections).identity | facts).difference(stored)
    assert changed == "training.nesterov: not set in the directory, True now"


def test_run_directory_lets_a_later_version_in_and_names_what_it_changed(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    with directory.opened(RunConfig.model_validate(SETTINGS).identity | {"samples": "s"}):
        directory.finish(b"weights", {"accuracy": 0.5})
    with directory.opened(_later().identity | {"samples": "s"}):
        assert directory.result() == {"accuracy": 0.5}
    changed = _later(training={"nesterov": True}).identity | {"samples": "s"}
    with pytest.raises(RunError, match=r"training\.nesterov: not set in the directory, True now"):
        directory.opened(changed).__enter__()


def test_saved_selection_is_a_later_versions_too(tmp_path: Path) -> None:
    """Also one whose budget lacks its defaults, as earlier versions wrote it."""
    output = {"directory": tmp_path}
    saved = SavedSelections.in_run(RunConfig.model_validate({**SETTINGS, "output": output}))
    of = {**saved.identity.values, "budget": {"n": 50, "seed": 0, "strategy": "k-center"}}
    with saved.locked():
        saved.write(SavedSelection(round=1, strategy="k-center", seed=0, of=of, keys=("00",)))
    assert len(SavedSelections.in_run(_later(output=output)).read()) == 1
    with pytest.raises(RunError, match=r"budget\.replacement: not set in the directory, True now"):
        SavedSelections.in_run(_later(output=output, budget={**SETTINGS["budget"], "replacement": True})).read()
