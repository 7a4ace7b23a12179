"""Measure training on one GPU, print each figure and record it with the GPU's name.

`python -m benchmarks.gpu` takes about five minutes. On a machine without a GPU it says so, runs the same code on the
CPU with less work, and records nothing. It needs nothing outside the repository and its lock files. If a part fails,
the others are still measured, and the exit status is 1.
"""

import argparse
import sys
import time
import traceback
from queue import Empty

import torch

from benchmarks.figures import write
from benchmarks.gpu.parts import ON_A_GPU, ON_THE_CPU, PARTS
from benchmarks.training.part import line


def main() -> None:
    """Read the arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[part.__name__ for part in PARTS], help="these parts")
    parser.add_argument("--seconds", type=float, default=270, help="begin no part after this time")
    arguments = parser.parse_args()
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if has_gpu else "cpu")
    name = torch.cuda.get_device_name(device) if has_gpu else "CPU"
    sizes = ON_A_GPU if has_gpu else ON_THE_CPU
    torch.set_num_threads(1)
    if has_gpu:
        print(f"on {name}, torch {torch.__version__}")
    else:
        print("no CUDA device: skipped the figures of a GPU; the same code now runs on the CPU and records nothing")
    failed = []
    started = time.perf_counter()
    for part in PARTS:
        if arguments.only and part.__name__ not in arguments.only:
            continue
        if time.perf_counter() - started > arguments.seconds:
            print(f"skipped {part.__name__}: {arguments.seconds:g} s are over; --only {part.__name__} measures it")
            continue
        try:
            for measured in part(device, sizes):
                # the targets are those of a GPU
                print(line(measured if has_gpu else {**measured, "target": None}), flush=True)
                if has_gpu:
                    write({**measured, "hardware": name})
        except torch.OutOfMemoryError as error:
            print(f"skipped the rest of {part.__name__}: {str(error).splitlines()[0]}")
            torch.cuda.empty_cache()
        except (RuntimeError, Empty):
            traceback.print_exc()
            failed.append(part.__name__)
    print(f"{time.perf_counter() - started:.0f} s in all")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
