"""The parts run on a machine without a GPU too, where they measure no memory and record nothing."""

from dataclasses import replace

import torch

from benchmarks.gpu.parts import ON_THE_CPU, PARTS, compiled, loops, losses
from benchmarks.gpu.subjects import Variant

CPU = torch.device("cpu")


def test_loss_is_timed_for_every_batch_and_number_of_classes() -> None:
    sizes = replace(ON_THE_CPU, batches=(4, 8), classes=(3, 5))
    names = [figure["name"] for figure in losses(CPU, sizes)]
    assert names == [f"ckd_loss_batch_{batch}_classes_{classes}_ms" for classes in (3, 5) for batch in (4, 8)]


def test_loop_is_a_ratio_in_each_of_two_variants() -> None:
    figures = {figure["name"]: figure for figure in loops(CPU, replace(ON_THE_CPU, loop_steps=1))}
    for variant in (Variant(), Variant("bfloat16", "channels_last")):
        assert figures[f"loop_vs_bare_{variant}"]["unit"] == "ratio"
        assert figures[f"ckd_vs_ce_{variant}"]["value"] > 0


def test_nothing_is_compiled_on_the_cpu() -> None:
    assert compiled in PARTS
    assert list(compiled(CPU, ON_THE_CPU)) == []
