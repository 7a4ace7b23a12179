"""Whether a student trained in bfloat16 is as accurate as one trained in float32: a test of equivalence, by method.

`python -m benchmarks.precision_equivalence --data digits` trains a teacher, computes its logits once, and trains CE, KD
and CKD students in both precisions, seed by seed. Everything else is the same in a pair, the memory format too. Two
one-sided t-tests of the paired differences (TOST, Schuirmann 1987) decide: the precisions are equivalent if both reject
at 5 % that the mean difference of test accuracy lies outside of +-0.5 points.

The number of seeds is fixed before the first run. Runs that are done are kept in `runs/precision-equivalence`, so an
interrupted benchmark goes on. One thread; about 6 minutes for digits and 27 for Fashion-MNIST on a CPU with bfloat16.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final

import torch
from scipy.stats import t as student_t
from torch import Tensor

from benchmarks.figures import figure, write
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.train_student import train_student
from shared.normalise import normalise
from shared.output_kinds import LOGITS
from shared.weights import load_weights

FOLDER: Final = Path("runs/precision-equivalence")
METHODS: Final[dict[str, dict[str, Any]]] = {"CE": {"name": "ce"}, "KD": {"name": "kd"}, "CKD": {"name": "ckd"}}
PRECISIONS: Final = ("float32", "bfloat16")
MARGIN: Final = 0.5
"""Points of test accuracy."""
LEVEL: Final = 0.05


@dataclass(frozen=True)
class Setting:
    """The sizes of one data set's runs: large enough that seeds differ by less than the margin."""

    n: int | None
    """Training samples; None for all."""
    steps: int
    teacher: str
    teacher_steps: int
    seeds: int


SETTINGS: Final = {
    "digits": Setting(n=None, steps=400, teacher="resnet8x4", teacher_steps=300, seeds=12),
    "fashion-mnist": Setting(n=6000, steps=500, teacher="resnet14", teacher_steps=600, seeds=8),
}


@dataclass(frozen=True)
class Equivalence:
    """The paired test of one method."""

    difference: float
    """Mean of bfloat16 minus mean of float32, in points."""
    deviation: float
    """Standard deviation of the paired differences."""
    low: float
    """The lower end of the 90 % confidence interval of the difference."""
    high: float
    p_value: float
    """The larger one of the two one-sided tests."""

    @property
    def is_shown(self) -> bool:
        """Whether the precisions are equivalent within the margin."""
        return self.p_value < LEVEL


def equivalence(differences: Sequence[float]) -> Equivalence:
    """Two one-sided t-tests of paired differences against the margin; differences that are all alike have no error."""
    seeds, difference, deviation = len(differences), mean(differences), stdev(differences)
    error = max(deviation / sqrt(seeds), 1e-12)
    reach = float(student_t.ppf(1 - LEVEL, seeds - 1)) * error
    p_value = float(student_t.sf((MARGIN - abs(difference)) / error, seeds - 1))
    return Equivalence(difference, deviation, difference - reach, difference + reach, p_value)


def main() -> None:
    """Train what is missing, then print a line for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=SETTINGS, default="digits")
    parser.add_argument("--seeds", type=int, help="pairs of students for each method")
    arguments = parser.parse_args()
    data, setting = arguments.data, SETTINGS[arguments.data]
    seeds = arguments.seeds or setting.seeds
    samples = Samples.of(_student(data, setting, "CE", "float32", 0))
    logits = _teacher_logits(data, setting, samples)
    accuracies = {
        (method, precision, seed): _accuracy(_student(data, setting, method, precision, seed), samples, logits)
        for seed in range(seeds)
        for method in METHODS
        for precision in PRECISIONS
    }
    print(
        f"{data}: resnet8, n = {len(samples.chosen)}, {setting.steps} steps, {seeds} seeds, margin {MARGIN} points\n\n"
        "| method | float32 % | bfloat16 % | difference | 90 % interval | p (TOST) | equivalent |\n"
        "|---|---|---|---|---|---|---|"
    )
    for method in METHODS:
        float32, bfloat16 = ([accuracies[method, name, seed] for seed in range(seeds)] for name in PRECISIONS)
        _report(data, method, float32, bfloat16)


def _report(data: str, method: str, float32: Sequence[float], bfloat16: Sequence[float]) -> None:
    """Record the differences, and print the line of one method."""
    differences = [half - whole for whole, half in zip(float32, bfloat16, strict=True)]
    test = equivalence(differences)
    name = f"{data}_{method.lower()}_bfloat16_minus_float32"
    found = figure("precision", name, differences, unit="points", better="higher", target=-MARGIN)
    write({**found, "value": round(test.difference, 3), "p_value": round(test.p_value, 6)})
    print(
        f"| {method} | {mean(float32):.2f} ± {stdev(float32):.2f} | {mean(bfloat16):.2f} ± {stdev(bfloat16):.2f} | "
        f"{test.difference:+.2f} ± {test.deviation:.2f} | {test.low:+.2f} to {test.high:+.2f} | {test.p_value:.2g} | "
        f"{'yes' if test.is_shown else 'not shown'} |"
    )


def _student(data: str, setting: Setting, method: str, precision: str, seed: int) -> RunConfig:
    training = {"steps": setting.steps, "seed": seed, "precision": precision, "memory_format": "channels_last"}
    return _config(data, f"{method}-{precision}-{seed}", "resnet8", METHODS[method], setting.n, training)


def _config(
    data: str, directory: str, network: str, method: dict[str, Any], n: int | None, training: dict[str, Any]
) -> RunConfig:
    return parse_config(
        {
            "data": {"name": data},
            "student": {"network": network},
            "method": method,
            "budget": {} if n is None else {"n": n},
            "training": {"device": "cpu", **training},
            "output": {"directory": FOLDER / data / directory},
        },
        source="benchmark",
    )


def _teacher_logits(data: str, setting: Setting, samples: Samples) -> Tensor:
    """The teacher's logits of the samples; the teacher learns from all labels, in float32."""
    training = {"steps": setting.teacher_steps, "precision": "float32"}
    config = _config(data, "teacher", setting.teacher, METHODS["CE"], None, training)
    result = train_student(config, Samples.of(config), {}, None)
    print(f"teacher {setting.teacher}: {result['accuracy']:.2%}", flush=True)
    card, network, _ = load_weights(FOLDER / data / "teacher" / "student.safetensors")
    with torch.inference_mode():
        batches = [network.eval()(normalise(batch, card.mean, card.std)) for batch in torch.split(samples.images, 500)]
    return torch.cat(batches).clone()


def _accuracy(config: RunConfig, samples: Samples, logits: Tensor) -> float:
    """Test accuracy in percent of one student, trained now or earlier."""
    bought = ({LOGITS: logits}, "benchmark") if config.needs_teacher else ({}, None)
    return 100 * float(train_student(config, samples, *bought)["accuracy"])


if __name__ == "__main__":
    main()
