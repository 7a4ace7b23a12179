"""Every image is a crop of itself, mirrored or not."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from distill_worker.data.augmentation.crop_flip import crop_and_flip

IMAGES = torch.arange(1, 2 * 3 * 4 + 1, dtype=torch.uint8).reshape(1, 2, 3, 4).repeat(300, 1, 1, 1)


def _augment(images: Tensor, padding: int, flip: bool, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return crop_and_flip(images, crop_padding=padding, horizontal_flip=flip, generator=generator)


def _candidates(image: Tensor, padding: int, flip: bool) -> set[tuple[int, ...]]:
    """Every crop of one padded image, and of its mirror image, by explicit slices."""
    _, height, width = image.shape
    padded = pad(image, (padding,) * 4)
    crops = [
        padded[:, top : top + height, left : left + width]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]
    return {tuple(way.flatten().tolist()) for crop in crops for way in ([crop, crop.flip(2)] if flip else [crop])}


def test_results_are_all_the_crops_and_mirror_images() -> None:
    """Nothing else comes out, and with 300 draws of 18 each comes out."""
    for padding, flip in ((1, True), (1, False), (0, True)):
        result = _augment(IMAGES, padding, flip)
        assert result.dtype == torch.uint8
        assert result.shape == IMAGES.shape
        assert {tuple(image.flatten().tolist()) for image in result} == _candidates(IMAGES[0], padding, flip)


def test_flips_are_as_likely_as_not() -> None:
    """300 fair coins: 150 +- 5 standard deviations."""
    kept = (_augment(IMAGES, 0, True) == IMAGES).flatten(1).all(1).sum()
    assert 106 < int(kept) < 194


def test_each_image_stays_in_its_place() -> None:
    images = torch.arange(1, 51, dtype=torch.uint8)[:, None, None, None].expand(50, 1, 4, 4)
    assert torch.equal(_augment(images, 1, True).amax((1, 2, 3)), images[:, 0, 0, 0])


def test_same_generator_gives_the_same_images() -> None:
    assert torch.equal(_augment(IMAGES, 1, True), _augment(IMAGES, 1, True))
    assert not torch.equal(_augment(IMAGES, 1, True), _augment(IMAGES, 1, True, seed=1))


def test_nothing_to_do_changes_nothing_and_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(crop_and_flip(IMAGES, crop_padding=0, horizontal_flip=False, generator=generator), IMAGES)
    assert torch.equal(generator.get_state(), before)


def test_images_given_are_left_alone() -> None:
    images = IMAGES.clone()
    _augment(images, 1, True)
    assert torch.equal(images, IMAGES)
