"""How many students this machine trains at the same time, unless a user says so."""

import pytest
import torch

from distill_worker.config.training_section import Training
from distill_worker.experiments.engines import jobs as module
from distill_worker.experiments.engines.jobs import default_jobs, gpus


@pytest.mark.parametrize(("threads", "jobs"), [(1, 8), (3, 2), (9, 1)])
def test_every_core_trains_by_default(monkeypatch: pytest.MonkeyPatch, threads: int, jobs: int) -> None:
    monkeypatch.setattr(module, "cores", lambda: 8)
    assert default_jobs(Training(threads=threads, device="cpu")) == jobs


@pytest.mark.parametrize(("device", "expected"), [("auto", 2), ("cuda", 2), ("cpu", 0)])
def test_every_gpu_trains_by_default(monkeypatch: pytest.MonkeyPatch, device: str, expected: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(module, "cores", lambda: 8)
    training = Training.model_validate({"device": device})
    assert gpus(training) == expected
    assert default_jobs(training) == (expected or 8)
