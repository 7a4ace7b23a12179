"""A step in each precision and memory format on one core of the CPU, as shares of float32 in the usual format.

`python -m benchmarks.formats` (5 minutes) prints each figure and records it. `training.precision` and
`training.memory_format` are `auto` by these figures.
"""

from dataclasses import replace

import torch

from benchmarks.figures import write
from benchmarks.gpu.parts import ON_THE_CPU, formats
from benchmarks.gpu.subjects import BATCH
from benchmarks.training.part import line

_SIZES = replace(
    ON_THE_CPU, rounds=7, steps=3, images=BATCH, networks=("resnet8", "resnet20", "wrn_16_2", "vgg8", "mobilenetv2")
)


def main() -> None:
    """Measure, print and record."""
    torch.set_num_threads(1)
    for measured in formats(torch.device("cpu"), _SIZES):
        print(line(measured), flush=True)
        write({**measured, "suite": "formats"})


if __name__ == "__main__":
    main()
