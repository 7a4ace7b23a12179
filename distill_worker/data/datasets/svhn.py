"""SVHN: cropped house numbers in MATLAB files, read by torchvision with scipy."""

from functools import partial
from pathlib import Path

from distill_worker.data.datasets.archive import download_with, read_parts
from distill_worker.data.datasets.dataset import Dataset, split_of
from distill_worker.data.datasets.described import described


def svhn(root: Path) -> Dataset:
    """32x32 colour digits (Netzer et al. 2011), without the extra training samples; the files' label 10 is class 0.

    No augmentation unless a run configures it, as in Zagoruyko and Komodakis 2016, arXiv 1605.07146, section 3.
    """
    from torchvision.datasets import SVHN  # slow to import

    train, test = read_parts(
        "svhn",
        root,
        [SVHN.split_list[part][1] for part in ("train", "test")],
        [partial(SVHN, str(root), split=part, download=False) for part in ("train", "test")],
        remedy=download_with("SVHN", f"{str(root)!r}, 'train'") + ", and again with 'test'",
    )
    train_split, test_split = (split_of(part.data, part.labels.reshape(-1)) for part in (train, test))
    return described("svhn", train_split, test_split, tuple("0123456789"), crop_padding=0, horizontal_flip=False)
