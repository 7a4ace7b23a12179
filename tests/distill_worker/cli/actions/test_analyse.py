"""`analyse` of runs and comparisons that were made here: no call is spent, and what is missing is named."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from distill_worker.experiments.analyses.analyse import analyse
from distill_worker.experiments.analyses.finished_run import FinishedRun, config_of, finished_run
from distill_worker.training.finished.student import load_student
from shared.networks import build_network
from shared.weights import weights_bytes
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher, answer, describe

ROOT = Path(__file__).parents[4]
FACTS = {
    *("student", "network", "method", "n", "seed", "teacher_id", "teacher_output", "teacher_weights"),
    *("classes", "test", "calibration", "confusion", "class_accuracy", "spectrum", "effective_rank"),
    *("fidelity", "class_correlation", "disputed", "sharpness", "errors"),
}


@pytest.fixture
def run(command: Command, config: Path, teacher: FakeTeacher) -> Path:
    """The directory of a finished run on ten bought outputs. The teacher is not there any more."""
    assert command("run", config).status == 0
    teacher.describe = teacher.quota = lambda: pytest.fail("a request was sent")  # type: ignore[method-assign]
    return config.parent / "run"


def test_facts_are_written_into_the_run_and_agree_with_its_result(
    command: Command, run: Path, teacher: FakeTeacher
) -> None:
    facts = facts_of(command("analyse", run, "--json"))
    assert facts.pop("directory") == str(run)
    assert set(facts) == FACTS
    assert json.loads((run / "analysis.json").read_text()) == facts
    result = json.loads((run / "result.json").read_text())
    assert facts["test"] == {"samples": result["test_samples"], "accuracy": result["accuracy"]}
    assert facts["fidelity"]["bought"]["samples"] == 10
    assert (len(facts["spectrum"]["features"]), len(facts["spectrum"]["logits"])) == (64, 10)
    assert sum(map(sum, facts["confusion"])) == sum(one["samples"] for one in facts["calibration"]["bins"]) == 500
    assert len(facts["class_correlation"]["teacher"]) == 10
    assert (len(facts["errors"]), len(facts["disputed"]), len(facts["disputed"][0]["teacher"])) == (24, 10, 3)
    assert facts["sharpness"]["losses"][0] < facts["sharpness"]["losses"][-1]
    assert teacher.paid == 10


def test_summary_names_the_file_with_all_facts(command: Command, run: Path) -> None:
    ended = command("analyse", run)
    assert ended.status == 0, ended.stderr
    assert "accuracy on 500 test samples" in ended.stdout
    assert ended.stdout.splitlines()[-1].endswith(f"{run}/analysis.json")


def test_file_of_the_run_gives_the_same_facts(command: Command, run: Path, config: Path) -> None:
    """It says where data and cache are, so the options that say so are an error beside it."""
    assert facts_of(command("analyse", config, "--json")) == facts_of(command("analyse", run, "--json"))
    ended = command("analyse", config, "--cache", run.parent / "cache.sqlite")
    assert (ended.status, ended.stdout) == (2, "")
    assert "--cache: expected no value" in ended.stderr


def test_weights_of_the_teacher_add_its_figures_on_the_test_images(command: Command, run: Path) -> None:
    """A student that is its own teacher agrees with it, and has the same spectra."""
    facts = facts_of(command("analyse", run, "--teacher-weights", run / "student.safetensors", "--json"))
    assert facts["fidelity"]["test"] == {"samples": 500, "agreement": 1.0, "kl": pytest.approx(0, abs=1e-12)}
    for name in ("features", "logits"):
        assert facts["spectrum"]["teacher"][name] == facts["spectrum"][name]
        assert facts["effective_rank"]["teacher"][name] == facts["effective_rank"][name]
    assert all(one["teacher"] == one["top"] for one in facts["errors"])
    assert "likewise of the teacher" in command("analyse", run, "--teacher-weights", run).stdout


def test_student_of_labels_alone_is_analysed_without_a_cache(command: Command, config: Path) -> None:
    assert command("train", config, "--set", "method.name=ce").status == 0
    facts = facts_of(command("analyse", config.parent / "run", "--json"))
    assert (facts["fidelity"], facts["class_correlation"], facts["disputed"]) == ({"bought": None}, None, [])
    assert command("analyse", config.parent / "run").status == 0


@pytest.mark.parametrize("output", ["label", "probabilities"])
def test_class_correlations_need_the_probabilities_of_all_classes(
    command: Command, config: Path, teacher: FakeTeacher, output: str
) -> None:
    teacher.description = describe(shape=(1, 8, 8), num_classes=10, tells=(output,))
    ended = command("run", config, "--set", "teacher.num_classes=10", "--set", f"teacher.output={output}")
    assert ended.status == 0, ended.stderr
    facts = facts_of(command("analyse", config.parent / "run", "--json"))
    assert facts["teacher_output"] == output
    assert facts["fidelity"]["bought"]["kl"] > 0
    assert (facts["class_correlation"] is None) == (output == "label")
    assert {len(shown["teacher"]) for shown in facts["disputed"]} == ({1} if output == "label" else {3})


IN_ROUNDS = ("--set", "budget.rounds=2")


@pytest.mark.usefixtures("teacher")
@pytest.mark.parametrize(
    "settings",
    [
        ("--set", "budget.strategy=margin", *IN_ROUNDS),
        ("--set", "budget.strategy=k-center", "--set", "budget.features=PLACE/features.safetensors"),
        ("--set", "training.protocol=paper", "--set", "training.max_epochs=1"),
    ],
    ids=["selected in rounds", "selected by features", "with validation"],
)
def test_samples_of_a_run_are_selected_as_its_directory_says(
    command: Command, config: Path, settings: tuple[str, ...]
) -> None:
    """The weights file of the features need not be there any more."""
    assert command("train", config, "--set", "method.name=ce").status == 0
    (config.parent / "run").rename(config.parent / "first")
    features = config.parent / "features.safetensors"
    (config.parent / "first" / "student.safetensors").rename(features)
    assert command("run", config, *(text.replace("PLACE", str(config.parent)) for text in settings)).status == 0
    features.unlink()
    assert facts_of(command("analyse", config.parent / "run", "--json"))["fidelity"]["bought"]["samples"] == 10


@pytest.mark.usefixtures("teacher")
def test_file_is_needed_where_the_directory_does_not_say_enough(command: Command, config: Path) -> None:
    """Namely that the samples were compared by the features of a student."""
    text = config.read_text()
    config.write_text(text + '[budget]\nn = 10\nstrategy = "k-center"\nfeatures = "student"\nrounds = 2\n')
    config.write_text(config.read_text().replace("budget.n = 10\n", ""))
    assert command("run", config).status == 0
    ended = command("analyse", config.parent / "run")
    assert ended.status == 3
    assert "Name the TOML file of the run in place of its directory" in ended.stderr
    assert command("analyse", config).status == 0


@pytest.mark.usefixtures("teacher")
def test_divergence_on_outputs_that_were_held_out_is_that_of_the_tuning(command: Command, config: Path) -> None:
    ended = command("run", config, "--set", "tuning={folds = 2, trials = 2, first_steps = 5}")
    assert ended.status == 0, ended.stderr
    result = json.loads((config.parent / "run" / "result.json").read_text())
    facts = facts_of(command("analyse", config.parent / "run", "--json"))
    assert facts["fidelity"]["held_out"] == {"kl": result["tuning"]["divergence"]}


def test_missing_outputs_are_named_with_the_cache_and_its_option(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "cache.sqlite").rename(tmp_path / "moved.sqlite")
    ended = command("analyse", run)
    assert (ended.status, ended.stdout) == (3, "")
    assert f"{tmp_path}/cache.sqlite: expected the 10 outputs (logits) of teacher t" in ended.stderr
    assert "name the cache of the run by --cache. Nothing was spent" in ended.stderr
    assert not (run / "analysis.json").exists()
    assert command("analyse", run, "--cache", tmp_path / "moved.sqlite").status == 0


def test_facts_that_cannot_be_written_end_the_command(command: Command, run: Path) -> None:
    (run / "analysis.json").mkdir()
    ended = command("analyse", run)
    assert (ended.status, ended.stdout) == (3, "")
    assert f"{run}/analysis.json: cannot be written" in ended.stderr


def test_teacher_of_other_images_is_rejected(command: Command, run: Path) -> None:
    network = build_network("resnet8", num_classes=10, in_channels=3)
    card = load_student(run).card.model_copy(
        update={"network": "resnet8", "in_channels": 3, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    )
    (run.parent / "other.safetensors").write_bytes(weights_bytes(network, card))
    ended = command("analyse", run, "--teacher-weights", run.parent / "other.safetensors")
    assert ended.status == 2
    assert "--teacher-weights: expected a network for images of shape [1, 8, 8]" in ended.stderr


def test_what_is_no_finished_run_is_named(command: Command, run: Path, tmp_path: Path) -> None:
    ended = command("analyse", tmp_path / "nothing")
    assert ended.status == 3
    assert "expected the directory of a finished run" in ended.stderr
    (run / "result.json").unlink()
    ended = command("analyse", run)
    assert ended.status == 3
    assert "expected a finished run, got one without a result" in ended.stderr
    assert "expected" in command("analyse", tmp_path / "cache.sqlite").stderr


def test_other_samples_are_not_taken_for_those_of_the_run(command: Command, run: Path) -> None:
    stored = json.loads((run / "run.json").read_text())
    stored["identity"]["samples"] = "0123456789abcdef"
    (run / "run.json").write_text(json.dumps(stored))
    ended = command("analyse", run)
    assert ended.status == 3
    assert "expected the samples that the run was made with (digest 0123456789abcdef)" in ended.stderr


def test_run_of_an_earlier_version_is_analysed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its network is code, which is run with consent alone."""
    monkeypatch.chdir(ROOT)  # as when it was written
    files = Path(shutil.copytree(ROOT / "tests" / "written_before" / "flat_layout", tmp_path / "files"))
    facts = facts_of(command("analyse", files / "finished", "--trust-code", "--json"))
    assert facts["test"]["accuracy"] == json.loads((files / "finished" / "result.json").read_text())["accuracy"]
    assert facts["fidelity"]["bought"]["samples"] == 40
    assert command("analyse", files / "finished").status == 3


def test_fresh_run_moves_the_analysis_of_the_earlier_one_aside(command: Command, run: Path, config: Path) -> None:
    assert command("analyse", run).status == 0
    assert command("train", config, "--fresh").status == 0
    assert not (run / "analysis.json").exists()
    assert (run / "before-1" / "analysis.json").exists()


@pytest.mark.usefixtures("teacher")
def test_outputs_are_put_into_the_order_of_the_classes_of_the_data(command: Command, config: Path) -> None:
    """The teacher's first output is that of class 1, and its last that of class 0."""
    names = json.dumps([str((place + 1) % 10) for place in range(10)])
    assert command("run", config, "--set", f"teacher.class_names={names}").status == 0
    directory = config.parent / "run"
    run = finished_run(config_of(directory, cache=None, root=Path("data"), path=None), load_student(directory))
    outputs = torch.from_numpy(answer(run.bought_images.numpy(), 10)).double().log_softmax(dim=1)
    assert run.bought is not None
    torch.testing.assert_close(run.bought.log_probabilities, outputs.roll(1, dims=1))


@pytest.fixture
def comparison(command: Command, tmp_path: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a comparison of two methods at two sizes, whose students are trained; the terminal is wide."""
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "compare.toml"
    path.write_text(
        f"""
data.name = "digits"
student.network = "resnet8"
training = {{steps = 2, batch_size = 4, device = "cpu"}}
teacher.give_up_after_seconds = 0
[compare]
directory = "{tmp_path}/compared"
n = [6, 8]
seeds = 2
jobs = 1
baseline = "KD"
methods = [{{label = "KD", method = {{name = "kd"}}}}, {{label = "CE", method = {{name = "ce"}}}}]
"""
    )
    facts_of(command("compare", path, "--yes", "--json"))
    teacher.describe = teacher.quota = lambda: pytest.fail("a request was sent")  # type: ignore[method-assign]
    return path


def test_students_of_a_comparison_are_analysed_once(
    command: Command, comparison: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were analysed before a kill are not analysed again; the table has a row for each method and n."""
    students = sorted((comparison.parent / "compared" / "students").iterdir())
    assert command("analyse", students[0]).status == 0
    analysed: list[Path] = []

    def counting(run: FinishedRun, *arguments: Any, **options: Any) -> dict[str, Any]:
        analysed.append(run.directory)
        return analyse(run, *arguments, **options)

    monkeypatch.setattr("distill_worker.experiments.analyses.students.analyse", counting)
    facts = facts_of(command("analyse", comparison, "--json"))
    assert sorted(analysed) == students[1:]
    assert (facts["n"], facts["students"], len(facts["results"])) == ([6, 8], 8, 8)
    assert {result["class_agreement"] is None for result in facts["results"] if result["method"] == "CE"} == {True}
    for result in facts["results"]:
        folder = comparison.parent / f"compared/students/{result['method']}-n{result['n']}-seed{result['seed']}"
        stored = json.loads((folder / "analysis.json").read_text())
        assert result["accuracy"] == 100 * stored["test"]["accuracy"]
        assert result["feature_rank"] == stored["effective_rank"]["features"]
    ended = command("analyse", comparison)
    assert ended.status == 0, ended.stderr
    assert len(analysed) == 7
    rows = [line.split()[:5] for line in ended.stdout.splitlines() if line.startswith(("KD ", "CE "))]
    assert rows[:4] == [[method, "│", n, "│", "2"] for n in ("6", "8") for method in ("KD", "CE")]
    assert [row[:3] for row in rows[-2:]] == [["CE", "│", "6"], ["CE", "│", "8"]]
    facts_of(command("analyse", comparison, "--teacher-weights", students[0], "--json"))
    assert len(analysed) == 15


def test_unfinished_students_of_a_comparison_are_left_out(command: Command, comparison: Path) -> None:
    """And a row without all seeds of the baseline is not tested. Without any finished student, the command ends."""
    students = sorted((comparison.parent / "compared" / "students").iterdir())
    (students[0] / "result.json").unlink()  # CE, n = 6, seed 0
    ended = command("analyse", comparison)
    assert "1 student of 8 not finished, and left out" in ended.stderr
    table = ended.stdout[ended.stdout.index("rank against KD") :].splitlines()
    tests = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in table if line.startswith("CE")}
    assert tests["6"] == "-"
    assert tests["8"] != "-"
    for student in students[1:]:
        (student / "result.json").unlink()
    ended = command("analyse", comparison)
    assert (ended.status, ended.stdout) == (3, "")
    assert "expected finished students of the comparison, got none" in ended.stderr
