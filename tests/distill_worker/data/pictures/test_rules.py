"""Pictures that the first rules read differently: another store, and both sample keys are known."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from distill_worker.data.datasets import Rules, load_dataset
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.files import pixels, write_png
from tests.distill_worker.data.pictures.test_store import COUNT, assert_same, opened, photos


def _by_rules(folder: Path, rules: Rules, *, image_size: tuple[int, int] | None = None) -> Dataset:
    return load_dataset(
        "image-folder",
        folder,
        path=folder / "photos",
        labels="none",
        class_names=("cat", "dog"),
        image_size=image_size,
        store=folder / "decoded",
        rules=rules,
    )


def _turn(folder: Path, number: int) -> None:
    """Let the picture with this number lie on its side, as its EXIF data say."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels(9 + number, 6, 9, 3)).save(folder / "photos" / f"{number:02}.png", exif=exif)


def test_pictures_by_the_first_rules_are_another_store(tmp_path: Path) -> None:
    """What the first rules read differently is known by both keys."""
    photos(tmp_path)
    for number in (2, 5):
        see_through = np.dstack([pixels(9, 8, 8, 3), np.full((8, 8), 40 * number, np.uint8)])
        Image.fromarray(see_through).save(tmp_path / "photos" / f"{number:02}.png")
    kept, first = _by_rules(tmp_path, 2), _by_rules(tmp_path, 1)
    assert len(list((tmp_path / "decoded").iterdir())) == 2
    assert_same(kept, opened(tmp_path, keeps=False))
    for dataset in (kept, _by_rules(tmp_path, 2)):
        assert dataset.train.first_keys == {kept.train.keys[row]: first.train.keys[row] for row in (2, 5)}
    assert first.train.first_keys == {}
    photos(tmp_path)
    assert _by_rules(tmp_path, 2).train.first_keys == {}, "they were replaced by plain pictures"


@pytest.mark.parametrize("image_size", [None, (8, 8)])
def test_keys_by_the_first_rules_are_those_of_their_shape(image_size: tuple[int, int] | None, tmp_path: Path) -> None:
    """All pictures lie on their side, so that height and width change places."""
    photos(tmp_path)
    for number in range(COUNT):
        _turn(tmp_path, number)
    kept, first = (_by_rules(tmp_path, rules, image_size=image_size) for rules in get_args(Rules)[::-1])
    assert kept.image_shape == ((3, 9, 6) if image_size is None else (3, 8, 8))
    assert kept.train.first_keys == dict(zip(kept.train.keys, first.train.keys, strict=True))


def test_picture_that_the_first_rules_pass_over_changes_the_shape_of_all(tmp_path: Path) -> None:
    for number, values in enumerate(pixels(0, COUNT, 8, 8)):
        write_png(tmp_path / "photos" / f"{number:02}.png", values)
    Image.fromarray(pixels(1, 8, 8, 3)).save(tmp_path / "photos" / "99.gif")
    kept, first = _by_rules(tmp_path, 2), _by_rules(tmp_path, 1)
    assert (kept.image_shape, first.image_shape) == ((3, 8, 8), (1, 8, 8))
    assert [kept.train.first_keys[key] for key in kept.train.keys[:COUNT]] == first.train.keys


def test_pictures_of_other_sizes_once_they_are_upright_are_an_error_that_names_the_rules(tmp_path: Path) -> None:
    photos(tmp_path, size=9)
    for number in range(COUNT):
        _turn(tmp_path, number)
    Image.fromarray(pixels(0, 6, 9, 3)).save(tmp_path / "photos" / "a.png")
    assert _by_rules(tmp_path, 1).image_shape == (3, 6, 9)
    with pytest.raises(DataError, match=r"expected data.image_size, .*data.rules = 1 reads them as it did"):
        _by_rules(tmp_path, 2)
