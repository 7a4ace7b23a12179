"""A training loop of one's own on bought outputs: `buy` gives a Dataset, `Objective` the loss. Digits of scikit-learn.

    TEACHER_API_KEY=tk_... python examples/own_loop.py https://teacher.example.org 100

The same command again buys nothing.
"""

import sys

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader

from distill_worker import Objective, buy


def small_network() -> nn.Module:
    """Any module that maps images to logits."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10)),
    )


def main(url: str, n: int, epochs: int = 60) -> float:
    """Buy n outputs, train on them, and return the accuracy on the images that were not bought."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    torch.manual_seed(0)
    network = small_network()

    bought = buy(images, url=url, n=n, cache="runs/own-loop.sqlite")
    objective = Objective("kd + ckd(pairing=anchors)", outputs=bought)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    for _ in range(epochs):
        for pictures, log_probabilities, index in DataLoader(bought, 25, shuffle=True, drop_last=True):
            loss = objective(network(pictures), log_probabilities, index=index)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    others = ~bought.held
    with torch.no_grad():
        predicted = network(bought.images[others].float() / 255).argmax(dim=1)
    return float((predicted == torch.from_numpy(digits.target)[others]).float().mean())


if __name__ == "__main__":
    print(f"accuracy on the images that were not bought: {main(sys.argv[1], int(sys.argv[2])):.1%}")
