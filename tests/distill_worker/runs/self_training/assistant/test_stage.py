"""The assistant in a run: what it labels, through breaks, and the files and settings that do not fit."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from distill_worker.data.selection.features import features_of
from distill_worker.errors import ConfigError, RunError
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.assistant import stage
from distill_worker.runs.self_training.assistant.divergence import Mixture, best_scale, divergence
from distill_worker.runs.self_training.assistant.stage import check_assistant
from distill_worker.runs.self_training.stage import notes
from distill_worker.runs.train_student import total_steps, train_student
from distill_worker.training.loop import Progress
from shared.networks import build_network
from shared.networks.draws import draws_from
from shared.weights import WeightsCard, load_weights, weights_bytes
from tests.distill_worker.runs.self_training.test_stage import (
    MEMBER_STEPS,
    MEMBERS,
    STEPS,
    BrokenOffError,
    N,
    broken_off_at,
    config_in,
)

FOLDS = 4
HALF = Mixture(ensemble_scale=0.5, weight=0.5)
PLACES = {
    "a fold": FOLDS * MEMBER_STEPS - 1,
    "the first member": FOLDS * MEMBER_STEPS + 3,
    "the student": (FOLDS + MEMBERS) * MEMBER_STEPS + 3,
}
"""Where a run ends too early, by the number of steps that were taken."""


def weights_file(folder: Path, *, seed: int = 0, network: str = "resnet8", side: int = 8) -> Path:
    """A network that was trained on nothing, but is another one for each seed."""
    with draws_from(seed):
        built = build_network(network, num_classes=10, in_channels=1)
    card = WeightsCard(
        network=network,
        num_classes=10,
        in_channels=1,
        image_size=(side, side),
        mean=(0.3,),
        std=(0.4,),
        class_names=tuple("0123456789"),
    )
    file = folder / f"weights-{seed}-{network}-{side}.safetensors"
    file.write_bytes(weights_bytes(built, card))
    return file


def _sections(file: Path, sections: Mapping[str, Any]) -> dict[str, Any]:
    settings = {"rounds": 1, "assistant": str(file), **sections.get("self_training", {})}
    return {**sections, "self_training": settings}


def _random_outputs(samples: Samples) -> Tensor:
    return 5 * torch.randn(len(samples.images), 10, generator=torch.Generator().manual_seed(0))


def _run(
    folder: Path,
    file: Path,
    progress: Progress = lambda _step, _loss: None,
    lines: list[str] | None = None,
    linear: bool = False,
    **sections: Any,
) -> dict[str, Any]:
    """Train on drawn outputs, or on outputs that are linear in the features of the file."""
    config = config_in(folder, **_sections(file, sections))
    samples = Samples.of(config)
    outputs = _random_outputs(samples)
    if linear:
        features = torch.from_numpy(features_of(file, samples.dataset.train.images))
        directions = torch.randn(features.shape[1], 3, generator=torch.Generator().manual_seed(1))
        of_all = (features / features.std(dim=0).clamp(min=1e-6)) @ directions
        # Few directions are learned from few samples.
        outputs = torch.cat([of_all - of_all.mean(dim=0), torch.zeros(len(of_all), 7)], dim=1)[samples.chosen]
    said = (lines if lines is not None else []).append
    return train_student(config, samples, {"logits": outputs}, "t", progress=progress, on_choice=said)


@contextmanager
def _mixture(mixture: Mixture) -> Iterator[None]:
    """Set the mixture: the networks of these tests learn too little to choose another one than of weight 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "best_mixture", lambda *_: (mixture, 1.0))
        yield


def _left_in(folder: Path) -> list[bytes]:
    """The student, and all outputs and metrics."""
    files = [path for name in ("*.safetensors", "metrics.jsonl") for path in sorted((folder / "run").rglob(name))]
    return [path.read_bytes() for path in files]


def _tensor(folder: Path, name: str) -> Tensor:
    return load_file(folder / "run" / "self-training" / name)["log_probabilities"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights file of the assistant."""
    return weights_file(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, file: Path) -> Path:
    """The folder of a run that was not disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    steps = list[int]()
    with _mixture(HALF):
        _run(folder, file, lambda step, _: steps.append(step))
    (folder / "steps.json").write_text(json.dumps(steps))
    return folder


@pytest.mark.parametrize("place", PLACES)
def test_run_that_breaks_off_in_any_stage_ends_with_the_same_bits(
    place: str, finished: Path, file: Path, tmp_path: Path
) -> None:
    steps = list[int]()
    with _mixture(HALF):
        with pytest.raises(BrokenOffError):
            _run(tmp_path, file, broken_off_at(PLACES[place]))
        _run(tmp_path, file, lambda step, _: steps.append(step))
    assert _left_in(tmp_path) == _left_in(finished)
    assert steps[0] > PLACES[place] - 3, "no finished member is trained again"


def test_every_step_of_every_training_is_reported_once(finished: Path, file: Path) -> None:
    reported = json.loads((finished / "steps.json").read_text())
    assert reported == list(range(1, (FOLDS + MEMBERS) * MEMBER_STEPS + STEPS + 1))
    assert total_steps(config_in(finished, **_sections(file, {})), N) == reported[-1]


def test_result_and_card_name_the_outside_weights(finished: Path, file: Path) -> None:
    result = json.loads((finished / "run" / "result.json").read_text())
    outside = {"file": file.name, "fingerprint": load_weights(file)[2]}
    assert (result["track"], result["outside_weights"]) == ("unlabelled-pool", outside)
    card, _, _ = load_weights(finished / "run" / "student.safetensors")
    assert card.provenance["outside_weights"] == outside
    assert config_in(finished, **_sections(file, {})).data_used == "unlabelled-pool, outside weights"
    assert config_in(finished).data_used == "unlabelled-pool"


def test_result_states_the_divergences_of_the_stored_outputs(finished: Path, file: Path) -> None:
    facts = json.loads((finished / "run" / "result.json").read_text())["self_training"]["assistant"]
    samples = Samples.of(config_in(finished, **_sections(file, {})))
    teacher = _random_outputs(samples).double().log_softmax(dim=1)
    stored = _tensor(finished, "assistant/assistant.safetensors").double()
    pool = len(samples.unbought)
    left_out, by_ridge, _, by_propagation, _ = torch.split(stored, [N, N, pool, N, pool])
    of_members = _tensor(finished, "assistant/held-out.safetensors").double()
    divergences = facts["held_out_divergence"]
    assert facts["leave_one_out_divergence"] == pytest.approx(divergence(teacher, left_out))
    for name, outputs in (("ridge", by_ridge), ("propagation", by_propagation), ("members", of_members)):
        assert divergences[name] == pytest.approx(best_scale(teacher, outputs).divergence)
    assert facts["estimator"] == min(("ridge", "propagation"), key=lambda name: divergences[name])


def test_assistant_that_knows_the_teacher_labels_alone_and_saves_the_first_ensemble(file: Path, tmp_path: Path) -> None:
    lines = list[str]()
    result = _run(tmp_path, file, lines=lines, linear=True, budget={"n": 200})
    facts = result["self_training"]["assistant"]
    assert (facts["estimator"], facts["weight"]) == ("ridge", 1)
    assert facts["held_out_divergence"]["together"] == pytest.approx(facts["held_out_divergence"]["ridge"], rel=0.1)
    assert facts["held_out_divergence"]["ridge"] < 0.1 * facts["held_out_divergence"]["members"]
    assert facts["leave_one_out_divergence"] < 0.1 * facts["held_out_divergence"]["members"]
    pool = _tensor(tmp_path, "round-1/pool.safetensors")
    by_ridge = _tensor(tmp_path, "assistant/assistant.safetensors")[400 : 400 + len(pool)]
    assert torch.equal(pool.argmax(dim=1), by_ridge.argmax(dim=1))
    assert not list((tmp_path / "run").rglob("member-*"))
    assert lines[0].startswith("self-training: the assistant labels the pool alone: on held-out bought outputs")


def test_assistant_without_weight_leaves_the_labels_to_the_ensemble(file: Path, tmp_path: Path) -> None:
    """The members of both runs have the same seeds."""
    lines = list[str]()
    with _mixture(Mixture(1, 0)):
        _run(tmp_path / "with", file, lines=lines)
    config = config_in(tmp_path / "without", self_training={"rounds": 1})
    samples = Samples.of(config)
    result = train_student(config, samples, {"logits": _random_outputs(samples)}, "t")
    pools = [_tensor(tmp_path / name, "round-1/pool.safetensors") for name in ("with", "without")]
    assert torch.equal(*pools)
    assert lines[0].startswith("self-training: the ensemble labels the pool alone: ")
    assert "outside_weights" not in result
    assert "assistant" not in result["self_training"]


def test_run_belongs_to_the_weights_and_not_to_their_place(finished: Path, file: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.safetensors"
    shutil.copy(file, moved)
    stored = json.loads((finished / "run" / "result.json").read_text())
    assert _run(finished, moved, lambda step, _: pytest.fail(f"step {step}")) == stored
    with pytest.raises(RunError, match=r"the weights file in self_training\.assistant is another: digest "):
        _run(finished, weights_file(tmp_path, seed=1))


@pytest.mark.parametrize("made", ["none", "text", "shape", "network"])
def test_file_that_does_not_fit_is_an_error_that_names_the_setting(made: str, tmp_path: Path) -> None:
    """Before anything is trained."""
    file = tmp_path / "no.safetensors"
    if made == "text":
        file.write_text("no weights")
    elif made == "shape":
        file = weights_file(tmp_path, side=16)
    elif made == "network":
        file = weights_file(tmp_path, network="torchvision:alexnet")
    expected = {
        "none": "no such weights file",
        "text": "expected a safetensors file",
        "shape": r"expected a network for images of shape \[1, 8, 8\], got one for \[1, 16, 16\]",
        "network": "expected a network for these images, got an error of ",
    }[made]
    config = config_in(tmp_path, **_sections(file, {}))
    with pytest.raises(ConfigError, match=rf"^self_training\.assistant: .*{expected}"):
        check_assistant(config, Samples.of(config))


def test_samples_that_are_too_few_for_the_folds_are_an_error(file: Path, tmp_path: Path) -> None:
    config = config_in(tmp_path, **_sections(file, {"budget": {"n": 3}}))
    with pytest.raises(ConfigError, match=r"^self_training\.assistant: expected at least 4 bought samples"):
        check_assistant(config, Samples.of(config))


def test_method_without_a_teacher_has_no_assistant(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"self_training: expected a method that buys the teacher's outputs"):
        config_in(tmp_path, **_sections(file, {"method": {"name": "ce"}, "plus": []}))


def test_note_says_that_the_assistant_is_compared(file: Path, tmp_path: Path) -> None:
    config = config_in(tmp_path, **_sections(file, {}))
    [line] = notes(config, Samples.of(config))
    assert f"helped by {file.name}, an assistant that 4 further members are compared with, give outputs" in line
