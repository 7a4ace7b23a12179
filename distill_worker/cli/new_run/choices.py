"""What a new run takes where nothing is stated: the size of the images, the network, the number of calls."""

from typing import Final

from distill_worker.cli.contact import Contact
from distill_worker.cli.new_run.data_look import DataLook
from distill_worker.config.training_section import AUTO
from distill_worker.data.datasets import resizes
from distill_worker.runs.resolution import network_for

_USUAL_N: Final = 500
LEAST_N: Final = 2
_SIDES: Final = (224, 64, 32)
"""Usual sides of images, to which images of several sizes are resized."""


def image_size_for(look: DataLook | None, contact: Contact) -> tuple[int, int] | None:
    """Height and width to resize images to; None if they stay as they are, or nothing is known of them."""
    if look is None or not resizes(look.data.name):
        return None
    taken = None if contact.description is None else contact.description.image_shape
    if taken is not None:
        return None if look.size == taken[1:] else taken[1:]
    if look.size is not None:
        return None
    smallest = min(min(size) for size in look.sizes)
    side = next((side for side in _SIDES if side <= smallest), smallest)
    return side, side


def network_of(look: DataLook | None, image_size: tuple[int, int] | None) -> str:
    """A network for images of this size."""
    size = image_size or (None if look is None else look.size)
    return AUTO if size is None else network_for(size)


def n_for(look: DataLook | None, contact: Contact) -> int:
    """A number of calls that the quota pays for, and the data have images for."""
    bounds = [_USUAL_N]
    if contact.quota is not None:
        bounds.append(contact.quota.remaining)
    if look is not None:
        bounds.append(look.images // 2)  # some are for the test
    return max(LEAST_N, min(bounds))
