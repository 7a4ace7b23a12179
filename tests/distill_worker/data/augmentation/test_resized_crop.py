"""Random-resized crops against their description, pixel by pixel, and within the limits that they promise."""

from math import sqrt

import pytest
import torch
from torch import Tensor

from distill_worker.data.augmentation.resized_crop import resized_crop


def _generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _places(
    smallest: float, *, horizontal_flip: bool = False, batch: int = 400, size: int = 64
) -> tuple[Tensor, Tensor]:
    """The rows and columns that a crop of each image takes, from images whose pixels say where they are."""
    ramp = (256 // size) * torch.arange(size, dtype=torch.uint8)
    images = torch.stack([ramp[:, None].expand(size, size), ramp.expand(size, size)]).expand(batch, 2, size, size)
    views = resized_crop(images, smallest=smallest, horizontal_flip=horizontal_flip, generator=_generator())
    assert (views.dtype, views.shape) == (torch.uint8, images.shape)
    return views[:, 0, :, 0].double() * size / 256, views[:, 1, 0].double() * size / 256


def test_area_and_stretch_are_within_their_limits() -> None:
    rows, columns = _places(0.25)
    height, width = ((places[:, -1] - places[:, 0] + 1) / 64 for places in (rows, columns))
    assert ((height * width) > 0.25 * 0.9).all()
    assert (height * width).min() < 0.35
    assert (height * width).max() > 0.85
    is_whole = (height > 0.97) | (width > 0.97)
    stretch = (width / height)[~is_whole]
    assert 0.72 < stretch.min() < 0.8
    assert 1.25 < stretch.max() < 1.39


def test_part_of_the_whole_area_may_only_be_stretched() -> None:
    """Its longer side is the image's."""
    rows, columns = _places(1.0)
    longer = torch.maximum(rows[:, -1] - rows[:, 0], columns[:, -1] - columns[:, 0])
    assert (longer > 61).all()
    shorter = torch.minimum(rows[:, -1] - rows[:, 0], columns[:, -1] - columns[:, 0])
    assert shorter.min() > 63 * sqrt(3 / 4) - 2


def test_places_reach_every_edge() -> None:
    for places in _places(0.25):
        assert places[:, 0].min() < 2
        assert places[:, -1].max() > 61


def test_some_images_are_flipped_and_only_if_that_is_permitted() -> None:
    _, columns = _places(0.25, horizontal_flip=True)
    flipped = columns[:, 0] > columns[:, -1]
    assert 150 < flipped.sum() < 250
    _, columns = _places(0.25)
    assert (columns[:, 0] < columns[:, -1]).all()


def _by_loop(channel: list[list[float]], draws: list[float], smallest: float) -> list[list[float]]:
    """Each pixel comes from its place in the part, between the four pixels around it; outside, the edge goes on."""
    size = (len(channel), len(channel[0]))
    area, stretch = smallest + (1 - smallest) * draws[0], (4 / 3) ** (2 * draws[1] - 1)
    sides = [min(1.0, sqrt(area / stretch)) * size[0], min(1.0, sqrt(area * stretch)) * size[1]]
    starts = [place * (length - side) for place, length, side in zip(draws[2:4], size, sides, strict=True)]

    def source(place: int, axis: int) -> tuple[int, int, float]:
        exact = starts[axis] + (place + 0.5) * sides[axis] / size[axis] - 0.5
        exact = min(max(exact, 0.0), size[axis] - 1.0)
        first = int(exact)
        return first, min(first + 1, size[axis] - 1), exact - first

    result = []
    for row in range(size[0]):
        top, bottom, low = source(row, 0)
        result.append(list[float]())
        for column in range(size[1]):
            left, right, across = source(column, 1)
            above = (1 - across) * channel[top][left] + across * channel[top][right]
            below = (1 - across) * channel[bottom][left] + across * channel[bottom][right]
            result[-1].append((1 - low) * above + low * below)
    return result


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9)])
@pytest.mark.parametrize("smallest", [0.08, 0.6])
def test_every_image_is_what_its_draws_make_of_it(shape: tuple[int, int, int], smallest: float) -> None:
    images = torch.randint(0, 256, (12, *shape), dtype=torch.uint8, generator=_generator(1))
    views = resized_crop(images, smallest=smallest, horizontal_flip=True, generator=_generator())
    draws = torch.rand(5, 12, 1, generator=_generator())[:, :, 0].double()
    for index, image in enumerate(images):
        of_image = draws[:, index].tolist()
        expected = torch.tensor([_by_loop(channel.tolist(), of_image, smallest) for channel in image.double()])
        if of_image[4] < 0.5:
            expected = expected.flip(2)
        assert (views[index] - expected).abs().max() < 0.51


def test_generator_decides_and_image_stays() -> None:
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=_generator(1))
    kept = images.clone()
    first, second = (resized_crop(images, smallest=0.3, horizontal_flip=True, generator=_generator()) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(images, kept)
    other = resized_crop(images, smallest=0.3, horizontal_flip=True, generator=_generator(4))
    assert not torch.equal(first, other)
