"""The views of a training image: by the run's policy, or by one that is given."""

from typing import get_args

import torch

from distill_worker.config.data_sections import Policy
from distill_worker.data.augmentation.crop_flip import crop_and_flip
from distill_worker.data.augmentation.resized_crop import resized_crop
from distill_worker.data.augmentation.strong import distort
from distill_worker.data.preprocessing import CROP_FLIP, HALF_STRONG, RESIZED_CROP, STRONG, Preprocessing

IMAGES = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
WEAK = Preprocessing((0.5,), (0.5,), crop_padding=1, horizontal_flip=True)
DISTORTED = Preprocessing((0.5,), (0.5,), crop_padding=1, horizontal_flip=True, policy=STRONG)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def test_default_policy_crops_and_flips() -> None:
    expected = crop_and_flip(IMAGES, crop_padding=1, horizontal_flip=True, generator=_generator())
    assert torch.equal(WEAK.augmented(IMAGES, _generator()), expected)
    assert torch.equal(DISTORTED.augmented(IMAGES, _generator(), policy=CROP_FLIP), expected)


def test_strong_policy_distorts_what_was_cropped_and_flipped() -> None:
    generator = _generator()
    expected = distort(WEAK.augmented(IMAGES, generator), generator)
    assert torch.equal(DISTORTED.augmented(IMAGES, _generator()), expected)
    assert torch.equal(WEAK.augmented(IMAGES, _generator(), policy=STRONG), expected)


def test_half_strong_policy_distorts_some_images_and_leaves_the_others_cropped_and_flipped() -> None:
    images = IMAGES[:1].repeat(400, 1, 1, 1)
    views = DISTORTED.augmented(images, _generator(), policy=HALF_STRONG)
    generator = _generator()
    plain = WEAK.augmented(images, generator)
    distorted = distort(plain, generator)
    is_plain, is_distorted = ((views == one).flatten(1).all(dim=1) for one in (plain, distorted))
    assert (is_plain | is_distorted).all()
    assert 100 < is_plain.sum() < 300


def test_resized_crop_takes_the_place_of_the_crop_and_flips_where_that_is_permitted() -> None:
    for flips in (False, True):
        view = Preprocessing((0.5,), (0.5,), 1, horizontal_flip=flips, policy=RESIZED_CROP, smallest_crop=0.4)
        expected = resized_crop(IMAGES, smallest=0.4, horizontal_flip=flips, generator=_generator())
        assert torch.equal(view.augmented(IMAGES, _generator()), expected)


def test_policies_of_the_configuration_are_those_of_the_images() -> None:
    """The configuration, which is read without PyTorch, has names of its own."""
    assert get_args(Policy) == (CROP_FLIP, STRONG, HALF_STRONG, RESIZED_CROP)
