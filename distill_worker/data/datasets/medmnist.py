"""The 2-D sets of MedMNIST that have one label a sample, as the .npz files that are published."""

from pathlib import Path

from distill_worker.data.datasets.archive_of_arrays import open_arrays
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.datasets.described import described


def medmnist(path: Path) -> Dataset:
    """Medical images of 28x28 or a larger edition, grey or coloured (Yang et al. 2023, arXiv 2110.14795).

    The published validation samples are `validation`, in neither of the other splits. Not flipped: left and right
    differ in a body. Random crops have a padding of 2 at 28x28.

    Raises:
        DataError: the file is missing or damaged, or is a set of volumes or of several labels a sample.
    """
    where = f"medmnist: {path}"
    with open_arrays(path, where=where) as arrays:
        train, validation, test = (arrays.split(part) for part in ("train", "val", "test"))
    return described(
        "medmnist",
        train,
        test,
        None,  # the files name no classes
        crop_padding=min(train.images.shape[2:]) // 14,
        horizontal_flip=False,
        validation=validation,
        every_class=True,
        where=where,
    )
