"""A script of a user's that buys: python -m tests.end_to_end.buying_from_python URL API_KEY N CACHE."""

import sys

import numpy as np
from numpy.typing import NDArray

from distill_worker import Bought, buy


def images() -> NDArray[np.uint8]:
    """A hundred images, always the same."""
    return np.random.default_rng(0).integers(0, 256, (100, 1, 8, 8), np.uint8)


def bought(url: str, api_key: str, n: int, cache: str) -> Bought:
    """In small requests, so that it can be killed between two of them."""
    settings = {"request_size": 2, "concurrency": 2}
    return buy(images(), url=url, n=n, cache=cache, api_key=api_key, teacher=settings, quiet=True)


if __name__ == "__main__":
    bought(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
