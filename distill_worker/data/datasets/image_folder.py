"""The user's own image files, one folder for each class."""

from pathlib import Path

from distill_worker.data.datasets.class_folders import ClassFolders, class_folders
from distill_worker.data.datasets.dataset import Dataset, split_of
from distill_worker.data.datasets.described import described
from distill_worker.data.datasets.pictures import common_shape, read_pictures
from distill_worker.data.datasets.split_by_key import split_by_key
from distill_worker.errors import DataError

_TEST_PARTS = ("test", "val")


def image_folder(path: Path, image_size: tuple[int, int] | None) -> Dataset:
    """`train/<class>/*` with `test/<class>/*`, or else `val`; or `<class>/*`, which is split by key.

    Classes are in alphabetical order. Files without an image's file name extension are skipped.
    Random crops have a padding of an eighth of the side; images are flipped.

    Raises:
        DataError: a folder is missing or has no images, the classes differ, or a file is no image.
    """
    where = f"image-folder: {path}"
    if not path.is_dir():
        raise DataError(f"{where}: expected a folder, got {'a file' if path.exists() else 'no folder'}")
    parts = [class_folders(folder, where=where) for folder in _folders(path, where)]
    class_names = parts[0].class_names
    _check_same_classes(parts, where)
    shape = common_shape([picture for part in parts for picture in part.pictures], image_size, where=where)
    read = [(read_pictures(part.pictures, shape, where=where), part.labels) for part in parts]
    train, test = split_by_key(*read[0], where=where) if len(read) == 1 else (split_of(*part) for part in read)
    return described(
        "image-folder",
        train,
        test,
        class_names,
        crop_padding=min(shape.height, shape.width) // 8,
        horizontal_flip=True,
        every_class=True,
        where=where,
    )


def _folders(path: Path, where: str) -> list[Path]:
    """The training and the test folder, or the one folder to split.

    A class may be called `train` or `test`: only a folder with folders in it is a part.
    """
    parts = [part for part in ("train", *_TEST_PARTS) if _has_folders(path / part)]
    if not parts:
        return [path]
    if "train" not in parts or len(parts) == 1:
        raise DataError(
            f"{where}: expected train and {' or '.join(_TEST_PARTS)} with a folder for each class, or the classes' "
            f"folders themselves, got only {' and '.join(parts)}"
        )
    return [path / part for part in parts[:2]]


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())


def _check_same_classes(parts: list[ClassFolders], where: str) -> None:
    first, last = set(parts[0].class_names), set(parts[-1].class_names)
    if first != last:
        raise DataError(
            f"{where}: expected the same classes in training and test, got only in one of them: "
            f"{', '.join(sorted(first ^ last))}"
        )
