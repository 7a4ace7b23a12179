"""Random crops and flips of a whole batch at once, on the device that the images live on."""

import torch
from torch import Tensor
from torch.nn.functional import pad


def crop_and_flip(images: Tensor, *, crop_padding: int, horizontal_flip: bool, generator: torch.Generator) -> Tensor:
    """Each image is padded with zeros, cropped back to its size at a random place, and flipped with probability 1/2.

    Args:
        images: uint8 `[batch, channels, height, width]`, on any device.
        crop_padding: pixels on every side; 0 crops nothing.
        horizontal_flip: whether to flip at all.
        generator: on the images' device, so that no draw is waited for.

    Returns:
        Like `images`; a new tensor, unless both are off.
    """
    if crop_padding == 0 and not horizontal_flip:
        return images
    batch, _, height, width = images.shape
    device = images.device
    top, left = torch.randint(0, 2 * crop_padding + 1, (2, batch, 1), generator=generator, device=device)
    rows = top + torch.arange(height, device=device)
    columns = left + torch.arange(width, device=device)
    if horizontal_flip:
        flipped = torch.rand(batch, 1, generator=generator, device=device) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
    padded = pad(images, (crop_padding,) * 4)
    samples = torch.arange(batch, device=device)[:, None, None]
    # Indices on both sides of a slice put the channels last; they are moved back.
    return padded[samples, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
