"""How time and memory grow: a step with the number of samples, the comparison of all pairs with batch and classes."""

import time
from collections.abc import Iterator
from typing import Final

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.figures import Figure, figure
from benchmarks.training.part import SUITE, Part, milliseconds, ratio
from benchmarks.training.students import PRECISIONS, loop
from benchmarks.training.turns import in_turns, ratios
from distill_worker.losses import ckd_loss
from distill_worker.methods.single_sample import CE

SAMPLES: Final = (500, 5_000, 50_000)
BATCHES: Final = (64, 256, 1024, 4096)
CLASSES: Final = (10, 100, 1000)
STEPS = 4
FLATNESS: Final = f"step_at_{SAMPLES[-1]}_vs_{SAMPLES[0]}_samples"
FLAT_TARGET, FORMULA_TARGET = 1.05, 1.1
_LONG_BATCH = 4096
"""A comparison of this batch is measured once: it takes seconds."""


def figures(rounds: int) -> Iterator[Figure]:
    """Times of a step, of the loss, and the loss's memory."""
    seconds = in_turns({str(n): loop(CE(), PRECISIONS[-1], steps=STEPS, samples=n) for n in SAMPLES}, rounds)
    grown = ratios(seconds[str(SAMPLES[-1])], seconds[str(SAMPLES[0])])
    yield ratio(FLATNESS, grown, target=FLAT_TARGET, better="lower")
    for n in SAMPLES:
        yield milliseconds(step_name(n), seconds[str(n)])
    shares = []
    for classes in CLASSES:
        for batch in BATCHES:
            peak = peak_bytes(batch, classes)
            shares.append(peak / formula_bytes(batch, classes))
            times = [_compare(batch, classes) for _ in range(1 if batch >= _LONG_BATCH else rounds)]
            yield milliseconds(loss_name(batch, classes), times)
            yield figure(SUITE, memory_name(batch, classes), [peak / 2**20], unit="MiB", better="lower")
    yield ratio("loss_memory_vs_formula", shares, target=FORMULA_TARGET, better="lower")


def step_name(samples: int) -> str:
    """The figure of a step's time."""
    return f"step_n{samples}"


def loss_name(batch: int, classes: int) -> str:
    """The figure of the loss's time, forward and backward."""
    return f"loss_b{batch}_c{classes}"


def memory_name(batch: int, classes: int) -> str:
    """The figure of the loss's peak memory."""
    return f"loss_memory_b{batch}_c{classes}"


def formula_bytes(batch: int, classes: int) -> int:
    """The most memory that forward and backward hold at once, beside the logits: 65 B^2 + 88 B C bytes.

    Eight float64 matrices of pairs and a bool one; eleven float64 matrices with a row for each sample.
    """
    return 65 * batch**2 + 88 * batch * classes


def peak_bytes(batch: int, classes: int) -> int:
    """The same, as torch's allocator counts it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        _compare(batch, classes)
    held = peak = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def _compare(batch: int, classes: int) -> float:
    """Seconds of forward and backward."""
    numbers = torch.Generator().manual_seed(0)
    student_logits = torch.randn(batch, classes, generator=numbers, requires_grad=True)
    teacher_logits = 3 * torch.randn(batch, classes, generator=numbers)
    started = time.perf_counter()
    ckd_loss(student_logits, teacher_logits).backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - started


PART = Part(
    "growth",
    "a step with 500 to 50,000 samples, and the comparison of all pairs with batches to 4,096 and 1,000 classes",
    seconds=60,
    rounds=4,
    figures=figures,
)
