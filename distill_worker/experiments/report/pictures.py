"""Images of a data set as the addresses of inline PNG files."""

import base64
from io import BytesIO

from PIL import Image
from torch import Tensor

from distill_worker.data.pictures.conversion import MODES


def png_address(pixels: Tensor) -> str:
    """A `data:` address.

    Args:
        pixels: uint8 `[channels, height, width]`. If no image file has so many channels, the grey of their mean.
    """
    if len(pixels) not in MODES:
        pixels = pixels.float().mean(dim=0, keepdim=True).byte()
    rows = pixels.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(rows[:, :, 0] if len(pixels) == 1 else rows, MODES[len(pixels)])
    content = BytesIO()
    image.save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
