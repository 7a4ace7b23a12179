"""Looking after stores of decoded images: listing, verifying and deleting them. They hold nothing that cannot be made
again.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill_worker.data.pictures.conversion import Shape
from distill_worker.data.pictures.filling import decoded_pictures
from distill_worker.data.pictures.index import Entry, Index
from distill_worker.data.pictures.places import ABOUT, lock, pixels_file, reported
from distill_worker.data.pictures.reading import Picture
from distill_worker.data.pictures.rules import Rules
from distill_worker.errors import DataError
from shared.sample_key import sample_key


@dataclass(frozen=True)
class StoreFacts:
    """What a store holds."""

    folder: Path
    data: Path
    """The folder or list that the images are from."""
    images: int
    image_shape: tuple[int, int, int] | None
    """Channels, height, width; None before the first image is decoded."""
    bytes: int
    """On disk."""
    rules: Rules
    """By which they were decoded."""

    @property
    def is_needed(self) -> bool:
        """Whether the images that it was made from are still there."""
        return self.data.exists()

    def facts(self) -> dict[str, Any]:
        """The same, JSON-able."""
        return asdict(self) | {"folder": str(self.folder), "data": str(self.data), "is_needed": self.is_needed}


@dataclass(frozen=True)
class Verified:
    """What a verification says of one store."""

    whole: int
    """Images whose file and whose pixels are as the index says."""
    damaged: list[str]
    """Files that no longer give the pixels that are kept, or whose kept pixels are damaged."""


def stores_in(folder: Path) -> list[StoreFacts]:
    """All stores in a folder, by name. Raises `DataError`."""
    with reported(folder):
        found = sorted(path.parent for path in folder.glob(f"*/{ABOUT}"))
        return [_facts(store) for store in found]


def prune(folder: Path, *, needed_too: bool) -> list[StoreFacts]:
    """Delete the stores whose images are gone, or all of them; returns them.

    A store in which another process decodes is left. Raises `DataError`.
    """
    pruned = []
    for facts in stores_in(folder):
        if facts.is_needed and not needed_too:
            continue
        with reported(facts.folder), lock(facts.folder, waits=False) as is_free:
            if is_free:
                shutil.rmtree(facts.folder)
                pruned.append(facts)
    return pruned


def verify(store: StoreFacts, progress: Callable[[int], None]) -> Verified:
    """Read every file of a store again. What is damaged is left out of the index, so that the next command decodes it.

    Args:
        store: the store.
        progress: called with the number of images that are done.

    Raises:
        DataError: the store cannot be used.
    """
    with reported(store.folder), lock(store.folder), Index(store.folder) as index:
        generation, rows, shape, entries = index.snapshot()
        decoded = [entry for entry in entries.values() if entry.row is not None]
        if shape is None or not decoded:
            return Verified(0, [])
        path, size = pixels_file(store.folder, generation), (rows, shape.channels, shape.height, shape.width)
        kept = np.memmap(path, np.uint8, mode="r", shape=size)
        damaged = []
        for done, entry in enumerate(decoded):
            if sample_key(kept[entry.row]) != entry.key or _key_now(entry, shape, store.rules) != entry.key:
                damaged.append(entry.name)
            progress(done + 1)
        index.remove(damaged)
        return Verified(len(decoded) - len(damaged), damaged)


def _key_now(entry: Entry, shape: Shape, rules: Rules) -> bytes | None:
    """The sample key of the file's pixels as they are now; None if it cannot be read."""
    try:
        ((_, decoded),) = decoded_pictures([Picture.at(entry.name, rules)], shape, where="data")
    except DataError:
        return None
    return decoded.key


def _facts(store: Path) -> StoreFacts:
    about = json.loads((store / ABOUT).read_text(encoding="utf-8", errors="surrogateescape"))
    with Index(store) as index:
        _, _, shape, entries = index.snapshot()
    return StoreFacts(
        store,
        Path(about["data"]),
        sum(entry.row is not None for entry in entries.values()),
        None if shape is None else (shape.channels, shape.height, shape.width),
        sum(path.stat().st_size for path in store.iterdir()),
        about["rules"],
    )
