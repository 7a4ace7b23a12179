"""A network is built from the seed, placed, and trained on any training set, in any directory."""

from pathlib import Path

import torch
from torch import nn

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.config.training_section import Training
from distill_worker.runs.resolution import resolved
from distill_worker.runs.sampling.on_device import training_set
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.student import fitted, placed
from distill_worker.runs.train_student import train_student
from distill_worker.training.directory.run_directory import RunDirectory
from shared.weights import load_weights

CPU = torch.device("cpu")


def _config(folder: Path) -> RunConfig:
    document = {
        "data": {"name": "digits"},
        "student": {"network": "resnet8"},
        "method": {"name": "kd"},
        "budget": {"n": 16},
        "training": {"steps": 3, "batch_size": 8, "device": "cpu"},
        "output": {"directory": str(folder / "run")},
    }
    return resolved(parse_config(document, source="test"))


def test_network_is_the_one_that_the_run_stores(tmp_path: Path) -> None:
    """From the same training set, in a directory of its own."""
    config = _config(tmp_path)
    samples = Samples.of(config)
    targets = {"logits": torch.randn(16, 10, generator=torch.Generator().manual_seed(0))}
    train_student(config, samples, targets, "t")
    (tmp_path / "other").mkdir()
    data = training_set(config, samples, targets, CPU)
    network, best = fitted(config, samples.dataset, data, RunDirectory(tmp_path / "other"))
    assert best is None, "there are no validation samples"
    stored = load_weights(tmp_path / "run" / "student.safetensors")[1].state_dict()
    for name, values in network.state_dict().items():
        assert torch.equal(values, stored[name]), name


def test_channels_last_is_for_tensors_of_four_dimensions() -> None:
    """Another one, as a network of one's own may have it, stays as it is."""
    network = nn.Conv2d(3, 4, 3)
    network.register_parameter("volume", nn.Parameter(torch.zeros(1, 2, 3, 4, 5)))
    placed(network, Training(memory_format="channels_last"), torch.device("cpu"))
    assert network.weight.is_contiguous(memory_format=torch.channels_last)
    assert network.get_parameter("volume").is_contiguous()
