"""Strong augmentation against its description, image by image and pixel by pixel."""

from math import cos, exp, floor, log, radians, sin

import pytest
import torch
from torch import Tensor

from distill_worker.data.augmentation.strong import distort
from distill_worker.data.preprocessing import STRONG, Preprocessing

SEED = 3


def _generator(seed: int = SEED) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(batch: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (batch, channels, height, width), dtype=torch.uint8, generator=_generator(1))


def _pixel(channel: list[list[float]], down: int, right: int) -> float:
    """0 outside of the image."""
    inside = 0 <= down < len(channel) and 0 <= right < len(channel[0])
    return channel[down][right] if inside else 0.0


def _between_pixels(channel: list[list[float]], down: float, right: float) -> float:
    top, left = floor(down), floor(right)
    low, across = down - top, right - left
    above = (1 - across) * _pixel(channel, top, left) + across * _pixel(channel, top, left + 1)
    below = (1 - across) * _pixel(channel, top + 1, left) + across * _pixel(channel, top + 1, left + 1)
    return (1 - low) * above + low * below


def _warped(channel: list[list[float]], draws: list[float]) -> list[list[float]]:
    """Each pixel comes from the place that the shear, the rotation, the scale and the shift lead to."""
    height, width = len(channel), len(channel[0])
    rotation, scale, shear, shift_right, shift_down = (2 * draw - 1 for draw in draws)
    angle, factor = radians(15) * rotation, exp(log(1.2) * scale)
    result = []
    for row in range(height):
        result.append(list[float]())
        for column in range(width):
            down, right = row - (height - 1) / 2, column - (width - 1) / 2
            right += 0.2 * shear * down
            from_right = factor * (cos(angle) * right - sin(angle) * down) + 0.1 * width * shift_right
            from_down = factor * (sin(angle) * right + cos(angle) * down) + 0.1 * height * shift_down
            result[-1].append(_between_pixels(channel, from_down + (height - 1) / 2, from_right + (width - 1) / 2))
    return result


def _by_loop(image: Tensor, draws: list[float]) -> Tensor:
    gamma, contrast, brightness = (2 * draw - 1 for draw in draws[5:8])
    channels = torch.tensor([_warped((channel.double() / 255).tolist(), draws[:5]) for channel in image])
    channels = channels.double() ** exp(log(1.5) * gamma)
    mean = channels.mean()
    channels = (mean + (1 + 0.3 * contrast) * (channels - mean)) * (1 + 0.3 * brightness)
    channels = channels.clamp(0, 1)
    _, height, width = channels.shape
    side, down, right = draws[8:]
    colour = channels.mean(dim=(1, 2))
    for row in range(height):
        for column in range(width):
            is_in_rows = abs((row + 0.5) / height - down) < side / 4
            is_in_columns = abs((column + 0.5) / width - right) < side / 4
            if is_in_rows and is_in_columns:
                channels[:, row, column] = colour
    return 255 * channels


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9)])
def test_every_image_is_what_its_draws_make_of_it(shape: tuple[int, int, int]) -> None:
    images = _images(12, *shape)
    draws = torch.rand(11, 12, generator=_generator())
    result = distort(images, _generator())
    assert (result.dtype, result.shape) == (torch.uint8, images.shape)
    for index, image in enumerate(images):
        expected = _by_loop(image, draws[:, index].tolist())
        assert (result[index].double() - expected).abs().max() < 0.51


def test_limits_keep_most_of_a_picture() -> None:
    """A bright square in the middle of a black image stays the brightest part, though a box may hide some of it."""
    images = torch.zeros(200, 1, 12, 12, dtype=torch.uint8)
    images[:, :, 4:8, 4:8] = 200
    result = distort(images, _generator()).double()
    middle = result[:, :, 3:9, 3:9].mean(dim=(1, 2, 3))
    assert (middle > result.mean(dim=(1, 2, 3))).all()
    assert len({tuple(image.flatten().tolist()) for image in result}) == 200


@pytest.mark.parametrize("flip", [False, True])
def test_images_are_mirrored_only_where_flips_are_permitted(flip: bool) -> None:
    """The left half is white: in no view is the right half the brighter one, unless it is mirrored."""
    preprocessing = Preprocessing((0.5,), (0.5,), crop_padding=1, horizontal_flip=flip, policy=STRONG)
    images = torch.zeros(300, 1, 10, 10, dtype=torch.uint8)
    images[:, :, :, :5] = 255
    result = preprocessing.augmented(images, _generator()).double()
    is_mirrored = result[..., 5:].mean(dim=(1, 2, 3)) > result[..., :5].mean(dim=(1, 2, 3))
    assert is_mirrored.any() == flip
    assert not is_mirrored.all()


def test_same_generator_gives_the_same_images() -> None:
    images = _images(5, 1, 8, 8)
    assert torch.equal(distort(images, _generator()), distort(images, _generator()))
    assert not torch.equal(distort(images, _generator()), distort(images, _generator(4)))


def test_images_given_are_left_alone() -> None:
    images = _images(5, 1, 8, 8)
    distort(images, _generator())
    assert torch.equal(images, _images(5, 1, 8, 8))
