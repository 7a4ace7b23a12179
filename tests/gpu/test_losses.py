"""Every loss on a device in float32, and under autocast, against float64 on the CPU."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from distill_worker.losses import ckd_loss
from tests.distill_worker.losses.cases import CASES, VARIANTS, Case
from tests.distill_worker.losses.comparisons import value_and_gradient

every_loss = pytest.mark.parametrize("case", [*CASES, *VARIANTS], ids=str)


def _on(device: torch.device, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in arguments.items()}


@every_loss
def test_value_and_gradient_are_those_of_the_cpu_in_float64(case: Case, device: torch.device) -> None:
    student, teacher = case.tensors()
    expected = value_and_gradient(case(student, teacher), student)
    given = student.detach().float().requires_grad_()
    loss = case.function(**_on(device, case.arguments(given, teacher.float())))
    assert loss.device.type == device.type
    value, gradient = value_and_gradient(loss, given)
    assert_close((value.double().cpu(), gradient.double()), expected, rtol=1e-4, atol=1e-5)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_no_value(case: Case, dtype: torch.dtype, device: torch.device) -> None:
    student, teacher = (rows.detach().to(dtype) for rows in case.tensors())
    expected = case.function(**_on(device, case.arguments(student.float(), teacher.float())))
    with torch.autocast(device.type, dtype):
        loss = case.function(**_on(device, case.arguments(student.float(), teacher.float())))
    assert_close(loss.float(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("classes", [10, 1000])
def test_all_pairs_of_a_large_batch_take_memory_of_pairs_not_of_vectors(classes: int, device: torch.device) -> None:
    """At most some 20 matrices of pairs, where vectors of 1,000 classes would take 33 GB for 2,048 samples."""
    samples = 2048 if device.type == "cuda" else 256
    student = torch.randn(samples, classes, device=device, requires_grad=True)
    teacher = 4 * torch.randn(samples, classes, device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    value, gradient = value_and_gradient(ckd_loss(student, teacher), student)
    assert value.isfinite()
    assert gradient.isfinite().all()
    if device.type == "cuda":
        assert torch.cuda.max_memory_allocated(device) < 20 * samples**2 * 8
