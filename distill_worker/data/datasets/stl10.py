"""STL-10: its labelled samples, read by torchvision from the binary files."""

from functools import partial
from pathlib import Path

from distill_worker.data.datasets.archive import download_with, read_parts
from distill_worker.data.datasets.dataset import Dataset, split_of
from distill_worker.data.datasets.described import described


def stl10(root: Path) -> Dataset:
    """5,000 training and 8,000 test photographs of 96x96 in 10 classes (Coates et al. 2011).

    The unlabelled samples are not read, but torchvision requires their file.
    """
    from torchvision.datasets import STL10  # slow to import

    names = [*(file for file, _ in STL10.train_list + STL10.test_list), STL10.class_names_file]
    train, test = read_parts(
        "stl10",
        root,
        [f"{STL10.base_folder}/{file}" for file in names],
        [partial(STL10, str(root), split=part, download=False) for part in ("train", "test")],
        remedy=download_with("STL10", repr(str(root))),
    )
    train_split, test_split = (split_of(part.data, part.labels) for part in (train, test))
    return described("stl10", train_split, test_split, train.classes, crop_padding=12, horizontal_flip=True)
