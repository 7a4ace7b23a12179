"""Digits as image files, some of which lie on their side as their EXIF data say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

TURNED = 4
"""Of each class, so many training images."""
UPRIGHT = 4
_ORIENTATION, _ON_ITS_SIDE = 0x0112, 6


def turned_digits(folder: Path, _: pytest.MonkeyPatch | None = None) -> Mapping[str, Any]:
    """Write `train/<class>/*.png` and `test/<class>/*.png` into a folder; the settings that read them."""
    digits = load_digits()
    for label in range(10):
        images = digits.images[digits.target == label][: TURNED + UPRIGHT + 1]
        for number, image in enumerate((images * 255 / 16).astype(np.uint8)):
            place = folder / "photos" / ("train" if number < TURNED + UPRIGHT else "test") / str(label)
            place.mkdir(parents=True, exist_ok=True)
            exif = Image.Exif()
            if number < TURNED:
                image = np.rot90(image)
                exif[_ORIENTATION] = _ON_ITS_SIDE
            Image.fromarray(image).save(place / f"{number}.png", exif=exif)
    return {"data.name": "image-folder", "data.path": str(folder / "photos"), "data.store": str(folder / "decoded")}
