"""How the user's own image files are opened."""

from pathlib import Path
from typing import Literal, NamedTuple

from distill_worker.data.pictures.rules import NEWEST, Rules

Unreadable = Literal["error", "skip"]
"""What is done with a file that cannot be read."""


class Opening(NamedTuple):
    """What a reader of image files needs."""

    path: Path
    """The folder or list of the files."""
    image_size: tuple[int, int] | None = None
    """Height and width that they are resized to; needed where they differ."""
    store: Path | None = None
    """The folder in which decoded images are kept. None: they are decoded into memory."""
    unreadable: Unreadable = "error"
    rules: Rules = NEWEST
