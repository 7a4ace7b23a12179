"""How well the fidelity that a run reports without labels agrees with that on all other images.

`python -m benchmarks.fidelity` trains a teacher on digits, and students on 100 and on 300 of its outputs, selected by
two strategies, for 10 seeds, each with samples of its own. It prints a table in Markdown: the agreement that the runs
report, that on all images which were not bought, and in how many runs the interval holds the latter. Runs that are
done are kept in `runs/fidelity`; about 15 minutes.
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.train_student import train_student
from distill_worker.training.evaluate import log_probabilities_of
from shared.weights import WeightsCard, load_weights

Network = tuple[WeightsCard, nn.Module]
FOLDER = Path("runs/fidelity")
SEEDS = range(10)
SIZES = (100, 300)
STRATEGIES: dict[str, dict[str, Any]] = {
    "random": {"strategy": "random"},
    "coarse-to-fine": {"strategy": "coarse-to-fine", "features": "gradients"},
}


def main() -> None:
    """One line for each n and strategy."""
    teacher = _teacher()
    print("| n | strategy | measured on | reported agreement % | on all other images % | interval holds it |")
    print("|---|---|---|---|---|---|")
    for n in SIZES:
        for name, budget in STRATEGIES.items():
            runs = list(_runs(n, name, budget, teacher))
            reported, true = ([100 * run[place] for run in runs] for place in ("reported", "true"))
            held = sum(run["low"] <= run["true"] <= run["high"] for run in runs)
            print(
                f"| {n} | {name} | {runs[0]['measured_on']} | {mean(reported):.1f} ± {stdev(reported):.1f} | "
                f"{mean(true):.1f} ± {stdev(true):.1f} | {held} of {len(runs)} |",
                flush=True,
            )


def _runs(n: int, name: str, budget: dict[str, Any], teacher: Network) -> Iterator[dict[str, Any]]:
    for seed in SEEDS:
        config = _config({"name": "kd"}, "resnet8", f"{name}-{n}-{seed}", seed, {"n": n, "seed": seed, **budget})
        samples = Samples.of(config)
        outputs = {"logits": _outputs(teacher, samples.images)}
        held_out = None if samples.held_out is None else {"logits": _outputs(teacher, samples.held_out.images)}
        fidelity = train_student(config, samples, outputs, "benchmark", None, held_out)["fidelity"]
        card, student, _ = load_weights(config.output.directory / "student.safetensors")
        others = samples.dataset.train.images[torch.tensor(samples.unbought)]
        agree = _outputs((card, student), others).argmax(dim=1) == _outputs(teacher, others).argmax(dim=1)
        low, high = fidelity["agreement_interval"]
        yield {
            "measured_on": fidelity["measured_on"],
            "reported": fidelity["agreement"],
            "low": low,
            "high": high,
            "true": float(agree.double().mean()),
        }


def _teacher() -> Network:
    config = _config({"name": "ce"}, "resnet8x4", "teacher", 0, {}, labels="given")
    train_student(config, Samples.of(config), {}, None)
    card, network, _ = load_weights(FOLDER / "teacher" / "student.safetensors")
    return card, network


def _outputs(of: Network, images: Tensor) -> Tensor:
    card, network = of
    return log_probabilities_of(network, images, mean=card.mean, std=card.std).float()


def _config(
    method: dict[str, Any], network: str, directory: str, seed: int, budget: dict[str, Any], labels: str = "none"
) -> RunConfig:
    return parse_config(
        {
            "data": {"name": "digits", "labels": labels},
            "student": {"network": network},
            "method": method,
            "budget": budget,
            "training": {"device": "cpu", "steps": 300, "seed": seed},
            "output": {"directory": FOLDER / directory},
        },
        source="benchmark",
    )


if __name__ == "__main__":
    main()
