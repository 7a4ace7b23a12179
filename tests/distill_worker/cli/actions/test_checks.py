"""What the checks before a purchase cost and change: no request more, no bit of the result."""

import json
from pathlib import Path

import pytest
import torch

from distill_worker.cache import Cache
from distill_worker.config.load import load_config
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.sampling.targets import load_targets
from distill_worker.runs.train_student import train_student
from shared.networks.draws import generator_states
from tests.distill_worker.cli.conftest import Command, facts_of
from tests.distill_worker.fake_teacher import FakeTeacher

_WITH_DROPOUT = """
from torch import nn

def network(num_classes, in_channels):
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64 * in_channels, num_classes))
"""


def test_plan_sends_no_request_more_than_it_needs(command: Command, config: Path, teacher: FakeTeacher) -> None:
    facts_of(command("plan", config, "--json"))
    assert sorted(teacher.paths_read) == ["/v1/quota", "/v1/quota", "/v2", "/v2/models/teacher"]
    assert teacher.sent == []


def test_plan_shows_the_cost_of_a_run_that_this_machine_cannot_train(
    command: Command, config: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first problem decides the status, and all others are shown."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ended = command("plan", config, "--json", "--set", "training.device=cuda", "--set", "budget.n=25")
    assert json.loads(ended.stdout)["to_buy"] == 25
    assert ended.status == 2
    assert "error: budget.n: expected a quota for 25 calls" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: training.device: expected a CUDA device")
    assert ended.stderr.count("error: ") == 2, "the dry pass fails for the same reason as the device"
    assert teacher.sent == []


def test_cached_run_is_checked_without_a_request(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Its checks use the stored description."""
    facts_of(command("fetch", config, "--json"))
    teacher.paths_read.clear()
    assert facts_of(command("run", config, "--json"))["n"] == 10
    other = ("--set", f"output.directory={config.parent / 'other'}", "--set", "student.network=resnet9")
    ended = command("run", config, *other)
    assert ended.status == 2
    assert "student.network" in ended.stderr
    assert teacher.paths_read == []


def test_checks_change_no_bit_of_the_result(command: Command, config: Path, teacher: FakeTeacher) -> None:
    """Of a network that draws from the global generators, too; and they leave these as they were."""
    (config.parent / "own.py").write_text(_WITH_DROPOUT)
    network = f"student.network={config.parent / 'own.py'}:network"
    before, threads = generator_states(), torch.get_num_threads()
    facts_of(command("fetch", config, "--json", "--set", network))
    assert torch.equal(before.pop("torch"), (after := generator_states()).pop("torch"))
    assert before == after
    assert torch.get_num_threads() == threads
    facts_of(command("run", config, "--json", "--set", network))
    plain = load_config(config, [network, f"output.directory={config.parent / 'plain'}"])
    samples = Samples.of(plain)
    with Cache(plain.output.cache) as cache:
        targets = load_targets(cache, "t", samples.keys)
    train_student(plain, samples, targets, "t")
    for name in ("student.safetensors", "metrics.jsonl"):
        assert (config.parent / "run" / name).read_bytes() == (config.parent / "plain" / name).read_bytes()
    assert teacher.paid == 10


def test_train_is_checked_before_it_claims_its_directory(command: Command, config: Path, teacher: FakeTeacher) -> None:
    facts_of(command("fetch", config, "--json"))
    ended = command("train", config, "--set", "student.network=resnet9")
    assert ended.status == 2
    assert not (config.parent / "run" / "run.json").exists()
    assert teacher.paid == 10
