"""Gradients against a loop over pixels and orientations."""

import math

import pytest
import torch
from torch import Tensor

from distill_worker.data.selection.features import gradients

SIDE, CELLS, ORIENTATIONS = 28, 7, 8


def _by_definition(image: Tensor) -> list[float]:
    grey = image.float().mean(dim=0).tolist()

    def at(values: list[list[float]], row: int, column: int) -> float:
        return values[min(max(row, 0), SIDE - 1)][min(max(column, 0), SIDE - 1)]

    def smoothed(row: int, column: int) -> float:
        return sum(at(grey, row + down, column + across) for down in (-1, 0, 1) for across in (-1, 0, 1)) / 9

    smooth = [[smoothed(row, column) for column in range(SIDE)] for row in range(SIDE)]
    cells: dict[tuple[int, int, int], float] = {}
    for row in range(SIDE):
        for column in range(SIDE):
            across = at(smooth, row, column + 1) - at(smooth, row, column - 1)
            down = at(smooth, row + 1, column) - at(smooth, row - 1, column)
            place = math.atan2(down, across) % math.pi / math.pi * ORIENTATIONS
            for orientation, share in ((int(place), 1 - place % 1), (int(place) + 1, place % 1)):
                cell = (orientation % ORIENTATIONS, row * CELLS // SIDE, column * CELLS // SIDE)
                cells[cell] = cells.get(cell, 0) + share * math.hypot(across, down)
    total = sum(cells.values())
    every = [(o, r, c) for o in range(ORIENTATIONS) for r in range(CELLS) for c in range(CELLS)]
    return [math.sqrt(cells.get(cell, 0) / total) for cell in every]


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_those_of_the_definition(channels: int) -> None:
    images = torch.randint(0, 256, (2, channels, SIDE, SIDE), dtype=torch.uint8, generator=torch.manual_seed(0))
    for image, features in zip(images, gradients(images), strict=True):
        assert features.tolist() == pytest.approx(_by_definition(image), abs=1e-3)


def test_brightness_and_contrast_change_nothing() -> None:
    image = torch.randint(0, 100, (1, 1, 12, 20), dtype=torch.uint8, generator=torch.manual_seed(0))
    assert gradients(2 * image + 30) == pytest.approx(gradients(image), abs=1e-3)


def test_image_of_one_colour_has_no_gradients() -> None:
    assert not gradients(torch.full((1, 3, 8, 8), 7, dtype=torch.uint8)).any()
