"""Data sets by name, each read into uint8 tensors with a fixed split. Nothing is ever downloaded.

A reader is imported when its data set is loaded: the names alone, which a configuration needs, need no PyTorch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from distill_worker.data.datasets.opening import Opening, Unreadable
from distill_worker.data.pictures.rules import NEWEST, Rules
from distill_worker.errors import ConfigError
from shared.expectations import no_choice

if TYPE_CHECKING:
    from distill_worker.data.datasets.dataset import Dataset

__all__ = [
    "DATASETS",
    "DEBIAN_FASHION_MNIST",
    "NEWEST",
    "Labels",
    "Rules",
    "Unreadable",
    "has_files",
    "is_own",
    "is_there",
    "load_dataset",
    "resizes",
    "takes_class_names",
]

Labels = Literal["given", "none"]
"""Whether training samples have labels."""

DEBIAN_FASHION_MNIST: Final = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package of it has its archives."""


@dataclass(frozen=True)
class _Reader:
    summary: str
    function: str
    """`module:function` in this package; called with the folder or file, and with the image size where `resizes`
    holds; or with an `Opening` where `has_files` does."""
    places: tuple[str, ...] = ()
    """Where its files are, in one of these places: below the root, or anywhere. None if they come with a package."""
    own: bool = False
    """Whether the data are the user's own, at `data.path`; else they are under `data.root`."""
    resizes: bool = False
    has_files: bool = False
    """Whether each sample is an image file of the user's."""
    opens_files: bool = False
    """Whether it reads image files that are the user's own, whose pixels are kept in a store."""
    unlabelled: str | None = None
    """As `function`, for data without labels; called with the class names, too. None: such data always have labels."""

    def read(self, function: str, *arguments: object) -> "Dataset":
        module, _, name = function.partition(":")
        dataset: Dataset = getattr(import_module(f"{__name__}.{module}"), name)(*arguments)
        return dataset


_READERS: Mapping[str, _Reader] = {
    "digits": _Reader("1,797 handwritten digits, grey 8x8, that come with scikit-learn", "digits:digits"),
    "mnist": _Reader("70,000 handwritten digits, grey 28x28", "mnist:mnist", ("MNIST/raw",)),
    "fashion-mnist": _Reader(
        "70,000 clothes in 10 classes, grey 28x28",
        "mnist:fashion_mnist",
        ("FashionMNIST/raw", str(DEBIAN_FASHION_MNIST)),
    ),
    "cifar10": _Reader("60,000 photographs in 10 classes, colour 32x32", "cifar:cifar10", ("cifar-10-batches-py",)),
    "cifar100": _Reader("60,000 photographs in 100 classes, colour 32x32", "cifar:cifar100", ("cifar-100-python",)),
    "svhn": _Reader("99,289 digits of house numbers, colour 32x32", "svhn:svhn", ("train_32x32.mat",)),
    "stl10": _Reader("13,000 photographs in 10 classes, colour 96x96", "stl10:stl10", ("stl10_binary",)),
    "tiny-imagenet": _Reader(
        "110,000 photographs in 200 classes, colour 64x64",
        "tiny_imagenet:tiny_imagenet",
        ("tiny-imagenet-200",),
        resizes=True,
    ),
    "medmnist": _Reader("a 2-D set of MedMNIST: data.path is its .npz file", "medmnist:medmnist", own=True),
    "image-folder": _Reader(
        "your image files, a folder for each class: data.path is that of the folders, or of train and test; or a .csv",
        "image_folder:image_folder",
        unlabelled="unlabelled_images:unlabelled_images",
        own=True,
        resizes=True,
        has_files=True,
        opens_files=True,
    ),
    "npz": _Reader(
        "your arrays of images and labels: data.path is an .npz file",
        "npz:npz",
        unlabelled="npz:npz_without_labels",
        own=True,
    ),
    "webdataset": _Reader(
        "your images in tar files (WebDataset): data.path is the file or the folder of them",
        "webdataset:webdataset",
        unlabelled="webdataset:webdataset_without_labels",
        own=True,
        resizes=True,
        has_files=True,
    ),
    "hugging-face": _Reader(
        "your images as Hugging Face saves (save_to_disk) or exports them (.parquet): data.path is the folder or file",
        "hugging_face:hugging_face",
        unlabelled="hugging_face:hugging_face_without_labels",
        own=True,
        resizes=True,
        has_files=True,
    ),
}

DATASETS: Mapping[str, str] = {name: reader.summary for name, reader in _READERS.items()}
"""The summary of each data set, in one line."""


def is_own(name: str) -> bool:
    """Whether a name is that of a format of the user's own data, which are at `data.path`."""
    return _READERS[name].own


def has_files(name: str) -> bool:
    """Whether each sample of a data set is an image file of the user's."""
    return name in _READERS and _READERS[name].has_files


def resizes(name: str) -> bool:
    """Whether the images of a data set are resized to `data.image_size`."""
    return _READERS[name].resizes


def takes_class_names(name: str) -> bool:
    """Whether data of this kind do not name their classes if they have no labels."""
    return _READERS[name].unlabelled is not None


def is_there(name: str, root: Path) -> bool:
    """Whether there are files of a data set that has a fixed place; they may be damaged, or some may be absent."""
    places = _READERS[name].places
    return not places or any((root / place).exists() for place in places)


def load_dataset(
    name: str,
    root: Path,
    *,
    path: Path | None = None,
    image_size: tuple[int, int] | None = None,
    labels: Labels = "given",
    class_names: Sequence[str] = (),
    store: Path | None = None,
    unreadable: Unreadable = "error",
    rules: Rules = NEWEST,
) -> "Dataset":
    """A data set by name.

    Args:
        name: one of `DATASETS`.
        root: the folder that public archives are unpacked in.
        path: the file or folder of the user's own data.
        image_size: height and width to resize image files to; needed where they differ.
        labels: `none` if the training samples have none, or theirs are not to be used.
        class_names: of the teacher, in its order: the classes of the user's own data without labels.
        store: the folder in which decoded image files are kept. None: they are decoded into memory.
        unreadable: whether image files that cannot be read are an error, or left out.
        rules: by which the user's own image files become pixels.

    Raises:
        ConfigError: an unknown name, or an argument that the data set does not take.
        DataError: missing or damaged files.
    """
    reader = _READERS.get(name)
    if reader is None:
        raise ConfigError(f"data.name: {no_choice(name, _READERS)}")
    if reader.own and path is None:
        raise ConfigError(f"data.path: expected the path of the data, got no value; {name} is {reader.summary}")
    if not reader.own and path is not None:
        raise ConfigError(f"data.path: expected no value, because {name} is read from data.root, got {path}")
    if not reader.resizes and image_size is not None:
        raise ConfigError(
            f"data.image_size: expected no value, because {name} has images of one size, got {list(image_size)}"
        )
    arguments: tuple[object, ...] = (root if path is None else path, *([image_size] if reader.resizes else []))
    if reader.has_files and path is not None:
        arguments = (Opening(path, image_size, store, unreadable, rules),)
    if unreadable != "error" and not reader.opens_files:
        raise ConfigError(
            f"data.unreadable: expected 'error', because {name} has no image files in folders, got {unreadable!r}"
        )
    if labels == "given":
        return reader.read(reader.function, *arguments)
    if reader.unlabelled is None:
        return reader.read(reader.function, *arguments).without_labels()
    return reader.read(reader.unlabelled, *arguments, tuple(class_names))
