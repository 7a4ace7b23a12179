"""How much of a student's error is one vector over the classes, which differences of outputs cannot teach.

`python -m benchmarks.class_bias runs/compare/fashion-mnist/students --data fashion-mnist` refits, for each student of a
comparison, a vector added to its logits to the labels of 500 training images, and prints test accuracy before and
after, mean and standard deviation over seeds. Afterwards the student knows 500 labels more than a method bought: this
is a diagnosis, not a result.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.dataset import Dataset
from shared.normalise import normalise
from shared.weights import load_weights

FITTED_ON = 500


def accuracies(network: nn.Module, data: Dataset) -> tuple[float, float]:
    """Test accuracy in percent as the network is, and with the vector refitted."""
    some = torch.randperm(len(data.train.needed_labels), generator=torch.Generator().manual_seed(0))[:FITTED_ON]
    known, test = (_logits(network, images, data) for images in (data.train.images[some], data.test.images))
    vector = fitted(known, data.train.needed_labels[some])
    before, after = (
        100 * float((logits.argmax(dim=1) == data.test.needed_labels).float().mean())
        for logits in (test, test + vector)
    )
    return before, after


def fitted(logits: Tensor, labels: Tensor) -> Tensor:
    """The vector `[classes]` that, added to all of `logits`, makes the labels likeliest."""
    vector = torch.zeros(logits.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([vector], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = cross_entropy(logits + vector, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return vector.detach()


def _logits(network: nn.Module, images: Tensor, data: Dataset) -> Tensor:
    with torch.no_grad():
        return torch.cat([network(normalise(batch, data.mean, data.std)) for batch in torch.split(images, 500)])


def main() -> None:
    """Read the arguments, then a line for each method and number of samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("students", type=Path, help="the folder of a comparison's students")
    parser.add_argument("--data", default="digits", help="the data set they were trained on")
    arguments = parser.parse_args()
    data = load_dataset(arguments.data, Path("data"))
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for weights in sorted(arguments.students.glob("*/student.safetensors")):
        network = load_weights(weights)[1].eval()
        found[weights.parent.name.rpartition("-seed")[0]].append(accuracies(network, data))
    for name, seeds in found.items():
        before, after = zip(*seeds, strict=True)
        print(f"{name}: {_spread(before)} -> {_spread(after)}", flush=True)


def _spread(values: tuple[float, ...]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


if __name__ == "__main__":
    main()
