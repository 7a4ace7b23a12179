"""Images as addresses."""

import base64
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from distill_worker.experiments.report.pictures import png_address


@pytest.mark.parametrize("channels", [1, 3])
def test_address_holds_the_pixels(channels: int) -> None:
    pixels = torch.arange(channels * 12, dtype=torch.uint8).reshape(channels, 3, 4)
    read = np.asarray(_picture(png_address(pixels))).reshape(3, 4, channels)
    assert torch.equal(torch.from_numpy(read.copy()).permute(2, 0, 1), pixels)


def test_image_of_other_channels_is_grey() -> None:
    pixels = torch.tensor([10, 30], dtype=torch.uint8).reshape(2, 1, 1)
    assert _picture(png_address(pixels)).getpixel((0, 0)) == 20


def _picture(address: str) -> Image.Image:
    assert address.startswith("data:image/png;base64,")
    return Image.open(BytesIO(base64.b64decode(address.partition(",")[2])))
