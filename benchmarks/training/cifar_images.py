"""Synthetic images as `torchvision.datasets.CIFAR100` holds them, with the transforms of the literature."""

from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms

from benchmarks.training.students import CHANNELS, CLASSES, MEAN, SIZE, STD


class CifarImages(Dataset[tuple[Any, int]]):
    """Noise: a uint8 array of height x width x channels for each image, opened as a PIL image at each access."""

    def __init__(self, samples: int) -> None:
        numbers = np.random.default_rng(0)
        self.data = numbers.integers(0, 256, (samples, SIZE, SIZE, CHANNELS), np.uint8)
        self.targets = numbers.integers(0, CLASSES, samples).tolist()
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(SIZE, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._transform(Image.fromarray(self.data[index])), self.targets[index]
