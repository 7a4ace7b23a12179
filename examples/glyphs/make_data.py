"""Write glyphs.npz beside this file: 96 characters in Debian's fonts, grey images of 28x28 pixels.

14,976 training and 4,992 test images of Latin and Greek letters, digits and signs, without those that differ by size
alone, such as c and C. Each image is turned, scaled, sheared and shifted at random. The families of fonts in the test
images are in no training image. The same fonts and version of Pillow give the same file; its digest is printed.

The fonts come with these packages of Debian 12:

    apt-get install fonts-agave fonts-cardo fonts-cmu fonts-comfortaa fonts-crosextra-carlito fonts-dejavu-core \
        fonts-dejavu-extra fonts-ebgaramond fonts-fantasque-sans fonts-firacode fonts-freefont-ttf \
        fonts-georgewilliams fonts-gfs-artemisia fonts-gfs-didot fonts-gfs-neohellenic fonts-go fonts-hack \
        fonts-inter fonts-jetbrains-mono fonts-jura fonts-lato fonts-liberation2 fonts-linuxlibertine fonts-mononoki \
        fonts-noto-core fonts-oldstandard fonts-open-sans fonts-play fonts-roboto-unhinted fonts-sil-gentium \
        fonts-tuffy fonts-vollkorn

A face is used if it has all characters, each with a shape of its own, so other fonts do as well. With fonts in another
folder: `make_data.py --fonts FOLDER`.
"""

import argparse
from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import cos, radians, sin
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CHARACTERS = "123456789ABCDEFGHJKLMNOPQRSTUVWXYZabdefghijmnqrtyΓΔΘΛΞΠΣΦΨΩαβδεζηθλμξπρσφω&%@#?!€$£§¥¶+=<>{}*©±÷"  # noqa: RUF001 Greek letters are meant
SIDE = 28
IMAGES_A_CLASS = {"train": 156, "test": 52}
FONT_SIZE = 96
"""Pixels in which a character is drawn before it is transformed."""
CANVAS = 256
OVERSAMPLING = 4
FILLED = 0.7
"""The share of the image's side that the longer side of a character takes, before it is scaled at random."""

Face = ImageFont.FreeTypeFont
Families = Mapping[str, Sequence[Path]]
Entry = TypeVar("Entry")


def main() -> None:
    """Write the file, and print what is in it."""
    parser = argparse.ArgumentParser(description="Render characters of fonts as a data set.")
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"), help="the folder of the fonts")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("glyphs.npz"), help="the file to write")
    arguments = parser.parse_args()
    families = usable_families(arguments.fonts)
    if len(families) < 2:
        parser.error(
            f"--fonts: expected two families or more that have all characters, got {len(families)} in "
            f"{arguments.fonts}; install the packages that the docstring of this file lists"
        )
    arrays: dict[str, Any] = {"class_names": np.array(list(CHARACTERS))}
    for seed, (split, of_split) in enumerate(divided(families).items()):
        images, labels = rendered(of_split, IMAGES_A_CLASS[split], np.random.default_rng(seed))
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
        print(f"{split}: {len(labels)} images of {len(CHARACTERS)} classes in {described(of_split)}")
    np.savez_compressed(arguments.output, allow_pickle=False, **arrays)
    print(f"fonts: {digest(path for faces in families.values() for path in faces)}")
    print(f"{arguments.output}: {digest([arguments.output])}")


def usable_families(folder: Path) -> dict[str, list[Path]]:
    """The faces below a folder that have all characters, by family: the folder that a package has for its fonts."""
    families: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".ttf", ".otf")):
        names = [part for part in path.relative_to(folder).parent.parts if part not in ("truetype", "opentype")]
        if names and has_all_characters(path):
            families.setdefault(names[0], []).append(path)
    return families


def has_all_characters(path: Path) -> bool:
    """Whether a face has all characters, each with a shape of its own, and not that of a character that it lacks."""
    try:
        face = ImageFont.truetype(path, SIDE)
        masks = [face.getmask(character) for character in (*CHARACTERS, "\U0010ffff")]
    except OSError:
        return False
    shapes = {(mask.size, bytes(mask)) for mask in masks}
    return len(shapes) == len(masks) and all(min(mask.size) > 0 for mask in masks[:-1])


def divided(families: Families) -> dict[str, Families]:
    """The families of each split, a quarter for the tests: by a hash of their names, so a new one moves few others."""
    order = sorted(families, key=lambda name: sha256(name.encode()).digest())
    count = max(1, len(order) // 4)
    parts = {"train": order[count:], "test": order[:count]}
    return {split: {name: families[name] for name in names} for split, names in parts.items()}


def rendered(families: Families, images_a_class: int, random: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images uint8 `[samples, side, side]` and their labels. Each has a face of a family, both drawn at random."""
    faces = {path: ImageFont.truetype(path, FONT_SIZE) for paths in families.values() for path in paths}
    labels = np.arange(images_a_class * len(CHARACTERS)) % len(CHARACTERS)
    images = []
    for label in labels:
        family = families[one_of(list(families), random)]
        images.append(transformed(drawn(faces[one_of(family, random)], CHARACTERS[label]), random))
    return np.stack(images), labels


def one_of(entries: Sequence[Entry], random: np.random.Generator) -> Entry:
    """An entry, drawn at random."""
    return entries[int(random.integers(len(entries)))]


def drawn(face: Face, character: str) -> Image.Image:
    """A character in the middle of an image, white on black, scaled so that the longer side of each has one length."""
    image = Image.new("L", (CANVAS, CANVAS))
    ImageDraw.Draw(image).text((CANVAS / 4, CANVAS / 4), character, fill=255, font=face)
    left, top, right, bottom = image.getbbox() or (0, 0, CANVAS, CANVAS)
    half = max(right - left, bottom - top) / FILLED / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    box = (x - half, y - half, x + half, y + half)
    return image.transform((OVERSAMPLING * SIDE,) * 2, Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)


def transformed(image: Image.Image, random: np.random.Generator) -> NDArray[np.uint8]:
    """The image turned by about 6 degrees, scaled by 0.75 to 1.1, sheared by about 0.1, shifted by up to 2 pixels."""
    turn, scale, shear = radians(random.normal(0, 6)), random.uniform(0.75, 1.1), random.normal(0, 0.1)
    inverse = np.array([[cos(turn), sin(turn)], [-sin(turn), cos(turn)]]) @ np.array([[1, shear], [0, 1]]) / scale
    middle = np.full(2, image.width / 2)
    shift = random.uniform(-2, 2, 2) * OVERSAMPLING
    start = middle - inverse @ (middle + shift)
    matrix = (*inverse[0], start[0], *inverse[1], start[1])
    turned = image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    return np.asarray(turned.reduce(OVERSAMPLING))


def described(families: Families) -> str:
    """The number of faces, and the names of their families."""
    return f"{sum(map(len, families.values()))} faces of {', '.join(sorted(families))}"


def digest(paths: Any) -> str:
    """SHA-256 of the contents of files."""
    whole = sha256()
    for path in paths:
        whole.update(path.read_bytes())
    return f"sha256 {whole.hexdigest()}"


if __name__ == "__main__":
    main()
