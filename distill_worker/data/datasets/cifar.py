"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), read by torchvision.

The files are pickles: torchvision compares their MD5 sums with the published ones before it opens any.
"""

from functools import partial
from pathlib import Path

import numpy as np

from distill_worker.data.datasets.archive import download_with, read_parts
from distill_worker.data.datasets.dataset import Dataset, split_of
from distill_worker.data.datasets.described import described


def cifar10(root: Path) -> Dataset:
    """60,000 photographs of 32x32 in 10 classes."""
    return _cifar("cifar10", root, "CIFAR10")


def cifar100(root: Path) -> Dataset:
    """60,000 photographs of 32x32 in 100 classes; the fine labels."""
    return _cifar("cifar100", root, "CIFAR100")


def _cifar(name: str, root: Path, class_name: str) -> Dataset:
    from torchvision import datasets  # slow to import

    read = getattr(datasets, class_name)
    names = [*(file for file, _ in read.train_list + read.test_list), read.meta["filename"]]
    train, test = read_parts(
        name,
        root,
        [f"{read.base_folder}/{file}" for file in names],
        [partial(read, str(root), train=part, download=False) for part in (True, False)],
        remedy=download_with(class_name, repr(str(root))),
    )
    train_split, test_split = (
        split_of(part.data.transpose(0, 3, 1, 2), np.array(part.targets)) for part in (train, test)
    )
    return described(name, train_split, test_split, train.classes, crop_padding=4, horizontal_flip=True)
