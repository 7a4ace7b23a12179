"""A student that starts from weights of the user's: where they go, and how the result names them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from distill_worker.config.load import load_config, parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import ConfigError, RunError
from distill_worker.runs.run_facts import first_student, notes_of_weights
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.self_training.members import configs_of_members
from distill_worker.runs.train_student import train_student
from distill_worker.training.finished.student import load_student
from shared.networks import build_network


def _config(folder: Path, **sections: Any) -> RunConfig:
    return parse_config(
        {
            "data": {"name": "digits"},
            "method": {"name": "kd"},
            "budget": {"n": 30},
            "output": {"directory": str(folder)},
            **sections,
            "student": {"network": "resnet8", **sections.get("student", {})},
            "training": {"steps": 2, "batch_size": 8, "device": "cpu", "learning_rate": 1e-12, "precision": "float32"},
        },
        source="test",
    )


@pytest.fixture
def network() -> nn.Module:
    """A network for ten classes, as the digits have."""
    torch.manual_seed(5)
    return build_network("resnet8", num_classes=10, in_channels=1)


@pytest.fixture
def file(tmp_path: Path, network: nn.Module) -> Path:
    """Its weights."""
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_student_and_members_start_from_the_file(tmp_path: Path, file: Path, network: nn.Module) -> None:
    """Members of another network do not."""
    stage = {"track": "unlabelled-pool", "self_training": {"members": 2}}
    config = _config(tmp_path / "run", student={"weights": str(file)}, **stage)
    dataset = Samples.of(config).dataset
    assert config.self_training is not None
    for one in (config, *configs_of_members(config, config.self_training, 1)):
        first = first_student(one, dataset).state_dict()
        assert all(torch.equal(values, first[name]) for name, values in network.state_dict().items())
    other = config.self_training.model_copy(update={"network": "resnet14"})
    assert configs_of_members(config, other, 1)[0].student.weights is None


def test_result_and_weights_file_name_them_apart(tmp_path: Path, file: Path, network: nn.Module) -> None:
    config = _config(tmp_path / "run", student={"weights": str(file)})
    samples = Samples.of(config)
    outputs = {"logits": samples.images.flatten(1)[:, :10].float()}
    result = train_student(config, samples, outputs, "t")
    assert result["student_weights"]["file"] == "weights.pth"
    assert config.data_used == "queried, outside weights"
    student = load_student(tmp_path / "run")
    assert student.card.provenance["student_weights"] == result["student_weights"]
    torch.testing.assert_close(
        student.network.state_dict()["classifier.weight"], network.state_dict()["classifier.weight"]
    )
    plain = _config(tmp_path / "plain")
    assert "student_weights" not in train_student(plain, samples, outputs, "t")
    assert plain.data_used == "queried"


def test_identity_of_a_run_without_weights_stays(tmp_path: Path, file: Path) -> None:
    """The setting is in no identity, whose digest of tensors is a fact of its own."""
    plain, started = _config(tmp_path / "a"), _config(tmp_path / "b", student={"weights": str(file)})
    assert plain.identity == started.identity
    assert "weights" not in plain.identity.values["student"]


def test_note_names_what_is_left_as_drawn(tmp_path: Path, file: Path) -> None:
    dataset = Samples.of(_config(tmp_path)).dataset
    assert notes_of_weights(_config(tmp_path), dataset) == []
    config = _config(tmp_path, student={"weights": str(file)})
    assert notes_of_weights(config, dataset) == ["the student starts from the weights in weights.pth"]
    torch.save(build_network("resnet8", num_classes=3, in_channels=1).state_dict(), file)
    [note] = notes_of_weights(config, dataset)
    assert "but for classifier.weight, classifier.bias, which are of another number of classes and are drawn" in note


def test_path_starts_at_the_file_of_the_run(tmp_path: Path, file: Path) -> None:
    """A file that is not there is named."""
    run = tmp_path / "run.toml"
    run.write_text(
        'data.name = "digits"\nstudent = {network = "resnet8", weights = "weights.pth"}\nmethod.name = "kd"\n'
    )
    config = load_config(run)
    assert config.student.weights == file
    dataset = Samples.of(_config(tmp_path)).dataset
    file.unlink()
    with pytest.raises(ConfigError, match=r"student.weights: cannot read .*weights.pth"):
        first_student(config, dataset)


def test_file_of_another_network_is_an_error_that_names_tensors(tmp_path: Path, file: Path) -> None:
    config = _config(tmp_path / "run", student={"network": "resnet14", "weights": str(file)})
    with pytest.raises(ConfigError, match=r"student.weights: .* got weights.pth without stages\.0\.1\.conv1\.weight"):
        first_student(config, Samples.of(config).dataset)
    assert not (tmp_path / "run").exists()


def test_other_weights_are_another_run(tmp_path: Path, file: Path) -> None:
    config = _config(tmp_path / "run", student={"weights": str(file)})
    samples = Samples.of(config)
    outputs = {"logits": samples.images.flatten(1)[:, :10].float()}
    train_student(config, samples, outputs, "t")
    identity = json.loads((tmp_path / "run" / "run.json").read_text())["identity"]
    assert len(identity["student_weights"]) == 16
    torch.save(build_network("resnet8", num_classes=10, in_channels=1).state_dict(), file)
    for student in ({"weights": str(file)}, {}):
        with pytest.raises(RunError, match=r"student\.weights are others|student_weights: "):
            train_student(_config(tmp_path / "run", student=student), samples, outputs, "t")
