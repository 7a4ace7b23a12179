"""From canonical pixels to what a network sees."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def normalise(
    images: Tensor, mean: Sequence[float], std: Sequence[float], size: tuple[int, int] | None = None
) -> Tensor:
    """uint8 `[batch, channels, height, width]` to float32: `(pixel / 255 - mean) / std`, per channel.

    With a `size`, the images are resized to that height and width first: bilinear, antialiased where they shrink.
    Teacher and student must agree on this to the last bit, or a served network is not the network that was trained.
    """
    mean_pixels = _per_channel([255.0 * value for value in mean], images.device)
    scale = _per_channel([1.0 / (255.0 * value) for value in std], images.device)
    pixels = images.to(torch.float32)
    if size is not None:
        pixels = interpolate(pixels, size, mode="bilinear", antialias=True)
    return (pixels - mean_pixels) * scale


def _per_channel(values: Sequence[float], device: torch.device) -> Tensor:
    """`[1, channels, 1, 1]`, filled in on the device: a GPU would be waited for while a list is copied to it."""
    return torch.cat([torch.full((1, 1, 1, 1), value, device=device) for value in values], dim=1)
