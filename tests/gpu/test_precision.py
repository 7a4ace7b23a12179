"""A GPU's compiled student takes the same steps, and a step in float16 that overflows changes nothing."""

import pytest
import torch

from distill_worker.methods.single_sample import KD
from tests.distill_worker.training.steps import TRAINING, running

CUDA = torch.device("cuda")


@pytest.mark.gpu
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_student_compiled_to_cuda_graphs_takes_the_same_steps(precision: str) -> None:
    """Within what TF32 and bfloat16 round. From step to step the loss changes by 15 % and more."""
    losses = []
    for compiled in (False, True):
        training = TRAINING.model_copy(update={"precision": precision, "compile": compiled})
        run = running([KD()], CUDA, training=training)
        losses.append([sum(float(term.detach()) for term in run.step().values()) for _ in range(4)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-2 if precision == "float32" else 5e-2)


@pytest.mark.gpu
def test_first_step_that_overflows_in_float16_changes_nothing() -> None:
    run = running([KD()], CUDA, training=TRAINING.model_copy(update={"precision": "float16"}))
    run._scaler = torch.amp.GradScaler("cuda", init_scale=2.0**40)
    before = [parameter.detach().clone() for parameter in run._network.parameters()]
    run.step()
    for parameter, value in zip(run._network.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
        assert not run._optimizer.state[parameter]["momentum_buffer"].any()
