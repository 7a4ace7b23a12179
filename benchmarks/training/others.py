"""Our loop against a plain PyTorch loop, and against torchdistill's own.

Student, batch, data and loss are the same: resnet20, 64 images of noise, 100 classes, KD. Both others pass each batch
through a live resnet110, because that is how they work; ours reads stored outputs. The plain loop is also measured with
stored outputs, which shows what is left without the teacher's forward pass.
"""

from collections.abc import Iterator

from benchmarks.figures import Figure
from benchmarks.training.part import Part, milliseconds, ratio
from benchmarks.training.plain_loop import plain_loop
from benchmarks.training.students import PRECISIONS, loop
from benchmarks.training.torchdistill_loop import torchdistill_loop
from benchmarks.training.turns import in_turns, ratios
from distill_worker.methods.single_sample import KD

STEPS = 4
TARGETS = {"float32": 3.0, "default_precision": 8.0}


def figures(rounds: int) -> Iterator[Figure]:
    """Their seconds a step, divided by ours."""
    seconds = in_turns(
        {
            "ours_float32": loop(KD(), "float32", steps=STEPS),
            "ours_default_precision": loop(KD(), PRECISIONS[-1], steps=STEPS),
            "plain": plain_loop(STEPS),
            "plain_without_teacher": plain_loop(STEPS, live_teacher=False),
            "torchdistill": torchdistill_loop(STEPS),
        },
        rounds,
    )
    for precision, target in TARGETS.items():
        ours = seconds[f"ours_{precision}"]
        for other in ("plain", "torchdistill"):
            yield ratio(f"{precision}_vs_{other}", ratios(seconds[other], ours), target=target)
        yield ratio(f"{precision}_vs_plain_without_teacher", ratios(seconds["plain_without_teacher"], ours))
    for name, values in seconds.items():
        yield milliseconds(f"{name}_step", values)


PART = Part(
    "others",
    "our loop on stored outputs against a plain PyTorch loop and torchdistill's, both with a live resnet110 teacher",
    seconds=65,
    rounds=5,
    figures=figures,
)
