"""Pictures for the tests of what reads them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels(seed: int, *shape: int) -> NDArray[np.uint8]:
    """Noise."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_png(path: Path, values: NDArray[np.uint8]) -> None:
    """A lossless file of `[height, width]` or `[height, width, 3]`, in a folder that is made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, format="PNG")
