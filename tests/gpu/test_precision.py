"""Half precision does not make a step wait for the device, and a GPU's compiled student takes the same steps."""

import pytest
import torch

from distill_worker.methods.ckd import CKD
from distill_worker.methods.single_sample import KD
from tests.distill_worker.training.steps import TRAINING, running
from tests.gpu.conftest import errors_at_synchronisation


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_no_step_in_half_precision_waits_for_the_device(precision: str, device: torch.device) -> None:
    """The scale of float16 is kept and checked on the device."""
    run = running([KD(), CKD()], device, training=TRAINING.model_copy(update={"precision": precision}))
    with errors_at_synchronisation(device):
        steps = [run.step() for _ in range(3)]
    for terms in steps:
        assert all(term.isfinite() for term in terms.values()), terms


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_student_compiled_to_cuda_graphs_takes_the_same_steps(precision: str) -> None:
    losses = []
    for compiled in (False, True):
        training = TRAINING.model_copy(update={"precision": precision, "compile": compiled})
        run = running([KD()], torch.device("cuda"), training=training)
        losses.append([sum(float(term.detach()) for term in run.step().values()) for _ in range(4)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3 if precision == "float32" else 2e-2)
