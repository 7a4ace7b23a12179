"""What `networks` does: list the networks that a student can be."""

import json
import re
from pathlib import Path
from typing import Final

from distill_worker.cli.new_run.data_look import look_at, section_of
from distill_worker.cli.tables.lists import print_list
from distill_worker.errors import ConfigError
from shared.networks.listing import NamedNetwork, described, names_by_family, takes, weightless

_SIZE: Final = re.compile(r"(\d+)(?:x(\d+))?")


def networks(
    data: str | None,
    *,
    root: Path,
    image_size: str | None,
    classes: int,
    channels: int,
    everything: bool,
    as_json: bool,
) -> None:
    """List the networks; with data or an image size, those that take such images."""
    size = None if image_size is None else _size_of(image_size)
    if data is not None:
        look = look_at(section_of(data, root=root))
        size, channels = size or look.sizes[0], look.channels
        classes = classes if look.class_names is None else len(look.class_names)
    listed = []
    for family, names in names_by_family(with_torchvision=everything).items():
        for name in names:
            network = weightless(name, num_classes=classes, in_channels=channels)
            if size is None or takes(network, (channels, *size)):
                listed.append(described(name, family, network, in_channels=channels))
    if as_json:
        print(json.dumps([one._asdict() for one in listed], indent=2))
        return
    print_list(("network", "family", "parameters", "smallest image"), [_row(one) for one in listed])
    images = "images" if size is None else f"images of {size[0]} x {size[1]} (height x width)"
    print(f"\nFor {classes} classes and {images} with {channels} channels.", end=" ")
    others = "" if everything else "--all adds torchvision's. "
    print(f"{others}A network of your own is a factory: docs/networks.md")


def _size_of(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or not int(match[1]) or not int(match[2] or 1):
        raise ConfigError(f"--image-size: expected a size such as 32, or 28x32 (height x width), got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def _row(one: NamedNetwork) -> tuple[str, ...]:
    smallest = "of one size only" if one.smallest_image is None else f"{one.smallest_image} x {one.smallest_image}"
    return one.name, one.family, f"{one.parameters:,}", smallest
