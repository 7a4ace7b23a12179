"""How long one comparison of all pairs takes: four matrix products against the same sum pair by pair.

`python -m benchmarks.losses` measures forward and backward on one CPU thread (and on CUDA when there is one), the two
forms alternating in one run, and writes the ratio and the times.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from benchmarks.figures import record
from distill_worker.losses import ckd_loss

CLASSES = 100
BATCHES = (64, 256)
RUNS = 7
TEMPERATURE = 4.0


def per_pair(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """The same loss by its definition, every pair's distribution written out: memory of B^2 x classes."""
    batch = len(student_logits)
    log_p = log_softmax((teacher_logits[:, None] - teacher_logits[None]) / TEMPERATURE, dim=2)
    log_q = log_softmax((student_logits[:, None] - student_logits[None]) / TEMPERATURE, dim=2)
    return TEMPERATURE**2 * kl_div(log_q, log_p, reduction="sum", log_target=True) / (batch * (batch - 1))


def seconds(loss: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor) -> float:
    """One forward and backward."""
    leaf = student.clone().requires_grad_()
    _wait(student.device)
    started = time.perf_counter()
    loss(leaf, teacher).backward()  # type: ignore[no-untyped-call]
    _wait(student.device)
    return time.perf_counter() - started


def measure(device: torch.device) -> None:
    """Write the figures of one device."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "1 CPU thread"
    for batch in BATCHES:
        torch.manual_seed(0)
        student = torch.randn(batch, CLASSES, device=device)
        teacher = 4 * torch.randn(batch, CLASSES, device=device)
        for warm_up in (per_pair, ckd_loss):
            seconds(warm_up, student, teacher)
        slow, fast = [], []
        for _ in range(RUNS):
            slow.append(seconds(per_pair, student, teacher))
            fast.append(seconds(ckd_loss, student, teacher))
        ratios = [a / b for a, b in zip(slow, fast, strict=True)]
        label = f"ckd_all_pairs_b{batch}_c{CLASSES}_{device.type}"
        record("losses", f"{label}_speedup", ratios, unit="x", better="higher", target=1.0)
        record("losses", f"{label}_ms", [1000 * value for value in fast], unit="ms", better="lower")
        print(
            f"{where}, batch {batch}, {CLASSES} classes: {1000 * statistics.median(slow):.2f} ms -> "
            f"{1000 * statistics.median(fast):.2f} ms, {statistics.median(ratios):.1f} x "
            f"({min(ratios):.1f} to {max(ratios):.1f}, {RUNS} runs)"
        )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    torch.set_num_threads(1)
    measure(torch.device("cpu"))
    if torch.cuda.is_available():
        measure(torch.device("cuda"))
