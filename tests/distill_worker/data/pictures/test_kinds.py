"""Every kind of picture becomes what docs/pictures.md says."""

from pathlib import Path

import numpy as np
import pytest

from distill_worker.data.pictures.rules import FIRST, NEWEST
from distill_worker.errors import DataError
from tests.distill_worker.data.datasets.array_kinds import table_of_arrays
from tests.distill_worker.data.datasets.files import pixels
from tests.distill_worker.data.pictures.colour_profile import profile
from tests.distill_worker.data.pictures.kinds import COLOUR, Kind, encoded, kinds, read, table, turned
from tests.generated_page import check_part

BEGINNING, END = "<!-- kinds: made by `make docs` -->\n", "<!-- end of kinds -->\n"
PAGE = Path(__file__).parents[4] / "docs" / "pictures.md"


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_kind_becomes_what_is_said(kind: Kind) -> None:
    if kind.expected is not None:
        assert kind.difference(NEWEST) <= kind.tolerance
        return
    for file in kind.files:
        with pytest.raises(DataError, match=r"^here: the picture: expected "):
            read(file, NEWEST)


def test_page_has_the_tables() -> None:
    check_part(PAGE, BEGINNING, END, f"\n{table()}\n{table_of_arrays()}\n", remedy="make docs")


def test_first_rules_never_change() -> None:
    """They are those of runs that exist: transparency is dropped, and the pixels stay as they are stored."""
    for orientation in range(2, 9):
        assert np.array_equal(read(turned(orientation, "PNG"), FIRST), COLOUR.transpose(2, 0, 1))
    see_through = np.dstack([COLOUR, pixels(4, 5, 7)])
    assert np.array_equal(read(encoded(see_through), FIRST), COLOUR.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("description", "is_converted"),
    [
        ("sRGB IEC61966-2.1", False),
        ("sRGB built-in", False),
        ("GIMP built-in sRGB", False),
        ("GIMP built-in Linear sRGB", True),
        ("sRGB linear", True),
        ("e-sRGB", True),
        ("Adobe RGB (1998)", True),
    ],
)
def test_profile_is_passed_over_only_if_it_is_that_of_srgb(description: str, is_converted: bool) -> None:
    read_so = read(encoded(COLOUR, icc_profile=profile(description)), NEWEST)
    assert np.array_equal(read_so, COLOUR.transpose(2, 0, 1)) != is_converted


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_unknown_orientation_is_upright(orientation: int) -> None:
    assert np.array_equal(read(turned(orientation, "PNG"), NEWEST), COLOUR.transpose(2, 0, 1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("data", [b"", b"MM", b"II*\0\xff\xff\xff\xff", b"\xff" * 64])
def test_damaged_exif_data_are_ignored(data: bytes) -> None:
    stored = pixels(0, 8, 8, 3)
    expected = read(encoded(stored, "JPEG"), NEWEST)
    assert np.array_equal(read(encoded(stored, "JPEG", exif=b"Exif\0\0" + data), NEWEST), expected)
