"""Our loop against the bare step, and bfloat16 against float32."""

from collections.abc import Iterator

from benchmarks.figures import Figure
from benchmarks.training.operators import seconds_by_group
from benchmarks.training.part import Part, milliseconds, ratio
from benchmarks.training.students import PRECISIONS, bare_step, loop
from benchmarks.training.turns import in_turns, per_step, ratios
from distill_worker.methods.single_sample import CE

STEPS = 4
LOOP_TARGET, BFLOAT16_TARGET = 0.95, 2.5
PROFILED_STEPS = 4


def figures(rounds: int) -> Iterator[Figure]:
    """The ratios, the times that they are made of, and the profile of both bare steps."""
    bare = {precision: bare_step(precision) for precision in PRECISIONS}
    subjects = {f"bare_{precision}": per_step(bare[precision], STEPS) for precision in PRECISIONS}
    subjects |= {f"loop_{precision}": loop(CE(), precision, steps=STEPS) for precision in PRECISIONS}
    subjects["bare_float32_channels_last"] = per_step(bare_step("float32", channels_last=True), STEPS)
    seconds = in_turns(subjects, rounds)
    for precision in PRECISIONS:
        shares = ratios(seconds[f"bare_{precision}"], seconds[f"loop_{precision}"])
        yield ratio(f"loop_vs_bare_step_{precision}", shares, target=LOOP_TARGET)
    if "bfloat16" in PRECISIONS:
        faster = ratios(seconds["bare_float32"], seconds["bare_bfloat16"])
        yield ratio("bfloat16_vs_float32_step", faster, target=BFLOAT16_TARGET)
        yield ratio("bfloat16_vs_float32_loop", ratios(seconds["loop_float32"], seconds["loop_bfloat16"]))
    in_other_layout = ratios(seconds["bare_float32"], seconds["bare_float32_channels_last"])
    yield ratio("channels_last_vs_contiguous_float32_step", in_other_layout)
    for name, values in seconds.items():
        yield milliseconds(f"{name}_step", values)
    for precision in PRECISIONS:
        for group, values in seconds_by_group(bare[precision], PROFILED_STEPS).items():
            yield milliseconds(f"profile_{precision}_{group}", values)


PART = Part(
    "step",
    "the training loop against the bare step (forward, backward, optimiser) in float32 and bfloat16, and a profile",
    seconds=50,
    rounds=8,
    figures=figures,
)
