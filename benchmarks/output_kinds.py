"""How much a student learns from less than logits: digits, 50 samples, KD and CKD, every kind of output.

`python -m benchmarks.output_kinds` trains a teacher, tells what it says of 50 images in each kind, trains a student on
each for 5 seeds, and prints a table in Markdown. Runs that are done are kept in `runs/output-kinds`; about 8 minutes.
"""

import re
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.train_student import train_student
from shared.normalise import normalise
from shared.output_kinds import LABEL, LOG_PROBABILITIES, LOGITS, OutputKind
from shared.weights import load_weights

FOLDER = Path("runs/output-kinds")
N, SEEDS = 50, range(5)
METHODS: dict[str, dict[str, Any]] = {"KD": {"name": "kd"}, "CKD": {"name": "ckd"}}
KINDS = (
    "logits",
    "log_probabilities",
    "probabilities",
    "probabilities:4",
    "probabilities:3",
    "probabilities:2",
    "top_k:5",
    "top_k:3",
    "top_k:3:2",
    "top_k:1",
    "label",
)


def told(kind: OutputKind, logits: Tensor) -> Tensor:
    """What a teacher with these logits, float32 `[samples, classes]`, tells in this kind."""
    if kind.name == LOGITS:
        return logits
    if kind.name == LOG_PROBABILITIES:
        return logits.double().log_softmax(1).float()
    if kind.name == LABEL:
        return logits.argmax(1, keepdim=True).float()
    probabilities = logits.double().softmax(1)
    rounded = probabilities if kind.digits is None else probabilities.round(decimals=kind.digits)
    if kind.k is None:
        return rounded.float()
    largest, classes = rounded.topk(kind.k, dim=1)
    return torch.stack([classes.double(), largest], dim=2).float()


def half_a_digit_each(logits: Tensor, digits: int) -> Tensor:
    """The rule that was not chosen: every class told as 0 gets half of the last digit. Log-probabilities."""
    probabilities = logits.double().softmax(1).round(decimals=digits).clamp(min=10.0**-digits / 2)
    return (probabilities / probabilities.sum(dim=1, keepdim=True)).log().float()


def _config(method: dict[str, Any], network: str, directory: str, **training: int) -> RunConfig:
    return parse_config(
        {
            "data": {"name": "digits"},
            "student": {"network": network},
            "method": method,
            "budget": {} if network != "resnet8" else {"n": N},
            "training": {"device": "cpu", **training},
            "output": {"directory": FOLDER / directory},
        },
        source="benchmark",
    )


def _teacher_logits(samples: Samples) -> tuple[float, Tensor]:
    config = _config({"name": "ce"}, "resnet8x4", "teacher", steps=300, threads=2)
    result = train_student(config, Samples.of(config), {}, None)
    card, network, _ = load_weights(FOLDER / "teacher" / "student.safetensors")
    with torch.no_grad():
        return result["accuracy"], network(normalise(samples.images, card.mean, card.std))


def main() -> None:
    """One line for each kind."""
    samples = Samples.of(_config({"name": "kd"}, "resnet8", "none"))
    accuracy, logits = _teacher_logits(samples)
    probabilities = logits.softmax(1)
    print(
        f"Teacher resnet8x4, {accuracy:.2%}; its largest probability is {probabilities.amax(1).median():.4f} (median)"
    )
    print(f"\n| output | {' | '.join(METHODS)} |\n|---|{'---|' * len(METHODS)}")
    outputs = {f"`{text}`": (text, told(OutputKind.parse(text), logits)) for text in KINDS}
    for digits in (3, 2):
        outputs[f"`probabilities:{digits}`, by the other rule"] = (LOG_PROBABILITIES, half_a_digit_each(logits, digits))
    for label, (kind, values) in outputs.items():
        cells = []
        for name, method in METHODS.items():
            found = []
            for seed in SEEDS:
                directory = f"{name}-{re.sub('[^a-z0-9_]+', '-', label.strip('`'))}-{seed}"
                config = _config(method, "resnet8", directory, steps=400, seed=seed)
                result = train_student(config, samples, {kind: values}, "benchmark")
                found.append(100 * result["accuracy"])
            cells.append(f"{mean(found):.2f} ± {stdev(found):.2f}")
        print(f"| {label} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
