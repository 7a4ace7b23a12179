"""The parts of the benchmark: each yields its figures for one device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch

from benchmarks.figures import Figure, figure
from benchmarks.gpu.processes import steps_a_second
from benchmarks.gpu.subjects import BATCH, STUDENT, Variant, bare_step, loop, timed, wait_for
from benchmarks.training.turns import Subject, in_turns, ratios
from distill_worker.losses import ckd_loss
from distill_worker.methods.ckd import CKD
from distill_worker.methods.single_sample import CE

SUITE: Final = "gpu"
LOOP_TARGET, CKD_TARGET = 0.95, 1.03
_FAST: Final = Variant("bfloat16", "channels_last")
_LOSS_STEPS: Final = 3


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int
    steps: int
    loop_steps: int
    networks: tuple[str, ...]
    images: int
    """In the batch of every step but those of `batches`."""
    batches: tuple[int, ...]
    classes: tuple[int, ...]
    processes: tuple[int, ...]
    seconds: float
    """Of each number of processes."""


ON_A_GPU: Final = Sizes(
    rounds=5,
    steps=10,
    loop_steps=300,
    networks=("resnet20", "resnet110"),
    images=BATCH,
    batches=(64, 256, 1024, 4096),
    classes=(10, 100, 1000),
    processes=(1, 2, 4),
    seconds=5,
)
ON_THE_CPU: Final = Sizes(
    rounds=1,
    steps=1,
    loop_steps=2,
    networks=("resnet20",),
    images=4,
    batches=(4, 8),
    classes=(10,),
    processes=(1, 2),
    seconds=1,
)
"""The same code with less work, where there is no GPU."""


def formats(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    """Steps in every precision and memory format, as shares of float32 in the usual format."""
    variants = [
        Variant(precision, memory_format)
        for precision in ("float32", "bfloat16", *(("float16",) if device.type == "cuda" else ()))
        for memory_format in ("contiguous", "channels_last")
    ]
    for network in sizes.networks:
        steps = {str(variant): bare_step(device, variant, network=network, images=sizes.images) for variant in variants}
        yield from _compared(f"step_{network}", _subjects(steps, device, sizes), str(Variant()), sizes)


def compiled(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    """Steps compiled to CUDA graphs beside those that are not. Compiling takes up to a minute each."""
    if device.type != "cuda":
        return
    for variant in (Variant(), _FAST):
        steps = {
            str(each): bare_step(device, each, images=sizes.images)
            for each in (variant, Variant(variant.precision, variant.memory_format, compiled=True))
        }
        yield from _compared(f"compile_{STUDENT}", _subjects(steps, device, sizes), str(variant), sizes)


def batches(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    """Images a second by batch size."""
    for batch in sizes.batches:
        step = timed(bare_step(device, _FAST, images=batch), device, sizes.steps)
        seconds = in_turns({"step": step}, sizes.rounds)["step"]
        rates = [batch / each for each in seconds]
        yield figure(SUITE, f"batch_{batch}_{STUDENT}_{_FAST}", rates, unit="images/s", better="higher")


def loops(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    """The training loop against the bare step, and a step of CKD against one of cross-entropy."""
    for variant in (Variant(), _FAST):
        seconds = in_turns(
            {
                "bare": timed(bare_step(device, variant, images=sizes.images), device, sizes.loop_steps),
                "ce": loop(device, CE(), variant, steps=sizes.loop_steps, images=sizes.images),
                "ckd": loop(device, CKD(), variant, steps=sizes.loop_steps, images=sizes.images),
            },
            sizes.rounds,
        )
        shares = ratios(seconds["bare"], seconds["ce"])
        yield figure(SUITE, f"loop_vs_bare_{variant}", shares, unit="ratio", better="higher", target=LOOP_TARGET)
        costs = ratios(seconds["ckd"], seconds["ce"])
        yield figure(SUITE, f"ckd_vs_ce_{variant}", costs, unit="ratio", better="lower", target=CKD_TARGET)
        yield _milliseconds(f"loop_ce_{variant}", seconds["ce"])


def losses(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    """CKD on all pairs, forward and backward: time and peak memory by batch and classes."""
    for classes in sizes.classes:
        for batch in sizes.batches:
            name = f"ckd_loss_batch_{batch}_classes_{classes}"
            step = _loss_step(device, batch, classes)
            step()
            wait_for(device)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
                before = torch.cuda.memory_allocated(device)
                step()
                peak = (torch.cuda.max_memory_allocated(device) - before) / 2**20
                yield figure(SUITE, f"{name}_peak", [peak], unit="MiB", better="lower")
            yield _milliseconds(name, in_turns({"loss": timed(step, device, _LOSS_STEPS)}, sizes.rounds)["loss"])


def students(device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    """Steps a second of several students, a process each, against one student alone."""
    rates = {
        count: steps_a_second(device, _FAST, count, images=sizes.images, seconds=sizes.seconds)
        for count in sizes.processes
    }
    for count, rate in rates.items():
        yield figure(SUITE, f"students_{count}_steps", [rate], unit="steps/s", better="higher")
        if count > 1:
            gain = [rate / rates[1]]
            yield figure(SUITE, f"students_{count}_vs_1", gain, unit="ratio", better="higher")


PARTS: Final[tuple[Callable[[torch.device, Sizes], Iterator[Figure]], ...]] = (
    formats,
    loops,
    losses,
    batches,
    students,
    compiled,
)
"""The most wanted first: the last are skipped if the time runs out."""


def _subjects(steps: dict[str, Callable[[], None]], device: torch.device, sizes: Sizes) -> dict[str, Subject]:
    return {name: timed(step, device, sizes.steps) for name, step in steps.items()}


def _compared(prefix: str, subjects: dict[str, Subject], base: str, sizes: Sizes) -> Iterator[Figure]:
    """The time of each subject, and how many times as fast as the base it is."""
    seconds = in_turns(subjects, sizes.rounds)
    for name, values in seconds.items():
        yield _milliseconds(f"{prefix}_{name}", values)
        if name != base:
            gains = ratios(seconds[base], values)
            yield figure(SUITE, f"{prefix}_{name}_vs_{base}", gains, unit="ratio", better="higher")


def _loss_step(device: torch.device, batch: int, classes: int) -> Callable[[], None]:
    student = torch.randn(batch, classes, device=device, requires_grad=True)
    teacher = 4 * torch.randn(batch, classes, device=device)

    def step() -> None:
        student.grad = None
        ckd_loss(student, teacher).backward()  # type: ignore[no-untyped-call]

    return step


def _milliseconds(name: str, seconds: list[float]) -> Figure:
    return figure(SUITE, f"{name}_ms", [1000 * value for value in seconds], unit="ms", better="lower")
