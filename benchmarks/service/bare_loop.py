"""No server: uint8 images in, normalised, through the network, and logits out as numpy. What every share is a share of.

The other subjects that are not ours (`plain_fastapi`, `litserve_server`) run their model through the same function.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared.normalise import normalise
from shared.weights import load_weights

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def predictor(weights: Path) -> Predict:
    """The network of a weights file as a function from uint8 `[samples, C, H, W]` to float32 `[samples, classes]`."""
    card, network, _ = load_weights(weights)

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = network(normalise(torch.from_numpy(images), card.mean, card.std)).numpy()
        return logits

    return predict


def images_per_second(predict: Predict, images: NDArray[np.uint8], seconds: float, warm_up_seconds: float) -> float:
    """How many images a second go through, batch after batch of the same `images`."""
    _passes(predict, images, warm_up_seconds)
    started = time.perf_counter()
    passes = _passes(predict, images, seconds)
    return passes * len(images) / (time.perf_counter() - started)


def _passes(predict: Predict, images: NDArray[np.uint8], seconds: float) -> int:
    deadline = time.perf_counter() + seconds
    passes = 0
    while time.perf_counter() < deadline:
        predict(images)
        passes += 1
    return passes
