"""Class names come from a file, a list or ImageNet, in the order in which they are written."""

from pathlib import Path

import pytest

from teacher_service.models.packing.class_names import class_names, numbered, remarks


def test_file_has_one_name_a_line(tmp_path: Path) -> None:
    """As editors of several systems write it, with empty lines at the end."""
    (tmp_path / "names.txt").write_bytes("\ufeffcat\r\ntabby, striped\r\n Größe \n\n\n".encode())
    assert class_names(str(tmp_path / "names.txt")) == ("cat", "tabby, striped", "Größe")


def test_names_may_be_separated_by_commas() -> None:
    assert class_names("cat, dog,ship") == ("cat", "dog", "ship")


def test_imagenet_is_in_the_order_of_torchvisions_weights() -> None:
    names = class_names("imagenet")
    assert (len(names), names[0], names[281], names[999]) == (1000, "tench", "tabby", "toilet tissue")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"\xff\xfe\x00", "expected a UTF-8 text file, got .*cannot be read"),
    ],
)
def test_file_that_is_no_list_of_names_is_an_error(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        class_names(str(tmp_path / "names.txt"))


def test_mistyped_path_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected a file with one name a line, names separated by commas, or "):
        class_names("nmaes.txt")


def test_names_in_use_twice_are_remarked_on() -> None:
    assert list(remarks(numbered(4))) == []
    (remark,) = remarks(("crane", "dog", "crane"))
    assert "'crane': more than one class has this name" in remark
