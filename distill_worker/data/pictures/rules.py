"""The rules by which a file becomes pixels: what a picture may be, and which files of a folder are pictures.

They carry a version, because a sample is known by its pixels: under other rules, some pictures are other samples, whose
outputs would be bought again. docs/pictures.md has the table. Rules of a version never change.
"""

from typing import Final, Literal

Rules = Literal[1, 2]
"""1: the orientation in EXIF, transparency and colour profiles are ignored; grey has 8 bits. 2: see `conversion`."""
NEWEST: Final[Rules] = 2
FIRST: Final[Rules] = 1
"""Those of every version that did not name them, and of the public data sets."""
EXTENSIONS: Final[dict[Rules, frozenset[str]]] = {
    1: frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}),
    2: frozenset(
        {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".pgm", ".pbm", ".pnm", ".bmp", ".tif", ".tiff", ".webp"}
        | {".gif", ".avif"}
    ),
}
"""The file name extensions that are read, also in capitals. The first are those of torchvision's `ImageFolder`."""
