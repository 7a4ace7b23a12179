"""Which samples a run is about: what is bought, what is trained on, what is only looked at.

What is chosen is `eligible`'s matter; here it becomes tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill_worker.config.run_config import RunConfig, Track
from distill_worker.data.datasets import Dataset, load_dataset
from distill_worker.data.preprocessing import Preprocessing
from distill_worker.errors import ConfigError
from distill_worker.methods import Mixing
from distill_worker.methods.base import probabilities_of
from distill_worker.runs.candidate_pool import Eligible
from distill_worker.training.training_set import Pool
from shared.sample_key import sample_key, sample_keys


@dataclass(frozen=True)
class Samples:
    """A run's samples. What is asked of the teacher and what the student sees are aligned, row by row."""

    dataset: Dataset
    labels: Tensor
    """int64, of every training image, with whatever noise the run has."""
    chosen: list[int]
    """Positions in the training split, ascending: the samples to query."""
    validation: list[int]
    """Positions that are only looked at."""
    candidates: list[int]
    """Positions that there are to choose from: one of each distinct image, less what an imbalance leaves out."""
    queried: Tensor
    """uint8 `[queries, channels, height, width]`: what the teacher is asked about, mixtures last."""
    images: Tensor
    """uint8, like `queried`: what the student sees, before augmentation."""
    label_probabilities: Tensor
    """float32 `[queries, classes]`."""
    known_keys: list[bytes] | None = None
    """The sample keys of what is asked, where they were derived before."""

    @classmethod
    def of(cls, config: RunConfig, chosen: Sequence[bytes] | None = None) -> "Samples":
        """Load the data set and choose `budget.n` of its training samples, or take those that were chosen.

        Args:
            config: the run.
            chosen: sample keys; without them, the run's strategy chooses, which in rounds it cannot do here.

        Raises:
            DataError: the data cannot be read.
            ConfigError: there are too few samples, or the strategy chooses in rounds.
        """
        return cls.among(dataset_of(config), config, chosen)

    @classmethod
    def among(cls, dataset: Dataset, config: RunConfig, chosen: Sequence[bytes] | None = None) -> "Samples":
        """Choose from a data set that is loaded already."""
        return cls.chosen_of(Eligible.of(dataset, config), config, chosen)

    @classmethod
    def chosen_of(cls, eligible: Eligible, config: RunConfig, keys: Sequence[bytes] | None = None) -> "Samples":
        """Choose from samples that are ranked already."""
        if keys is None:
            if config.budget.rounds > 1:
                raise ConfigError(
                    f"budget.strategy: {config.budget.strategy} chooses with a student, in rounds: distill-worker run"
                )
            keys = eligible.first()
        dataset, labels, classes = eligible.dataset, eligible.labels, len(eligible.dataset.class_names)
        chosen = eligible.positions(keys)
        here = torch.tensor(chosen)
        everything = len(chosen) == len(dataset.train.images)  # which need not be copied
        images = dataset_images = dataset.train.images if everything else dataset.train.images[here]
        probabilities = probabilities_of(labels[here], classes)
        queried = images
        if config.augmentation.query_view == "augmented":
            queried = _views(images, preprocessing(dataset, config), config.budget.seed)
        mixing = next((method for method in config.methods if isinstance(method, Mixing)), None)
        if mixing is not None and mixing.mixtures:
            mixtures, mixed = mixing.asked_mixtures(images, probabilities, seed=config.budget.seed)
            queried, images = torch.cat([queried, mixtures]), torch.cat([images, mixtures])
            probabilities = torch.cat([probabilities, mixed])
        return cls(
            dataset,
            labels,
            chosen,
            eligible.validation,
            sorted(eligible.ranked),
            queried,
            images,
            probabilities,
            [eligible.key_of[position] for position in chosen] if queried is dataset_images else None,
        )

    @cached_property
    def keys(self) -> list[bytes]:
        """The sample keys of what the teacher is asked about, row by row."""
        return self.known_keys or sample_keys(np.ascontiguousarray(self.queried.numpy()))

    def images_by_key(self) -> dict[bytes, NDArray[np.uint8]]:
        """Whatever a purchase of this data set may hold: every training image, and what is asked now."""
        images = self.dataset.train.images.numpy()
        return dict(zip(sample_keys(images), images, strict=True)) | self.wanted

    @cached_property
    def wanted(self) -> dict[bytes, NDArray[np.uint8]]:
        """What to buy: images by sample key."""
        return dict(zip(self.keys, self.queried.numpy(), strict=True))

    def digest(self) -> str:
        """What tells these samples, with their labels, from others."""
        digest = sha256(b"".join(self.keys))
        digest.update(self.label_probabilities.numpy().tobytes())
        return digest.hexdigest()[:16]

    def pool(self, track: Track) -> Pool | None:
        """What the track adds to the queried samples: all candidates that are not for validation."""
        if track == "queried":
            return None
        held_out = set(self.validation)
        here = torch.tensor([position for position in self.candidates if position not in held_out])
        return Pool(self.dataset.train.images[here], self.labels[here] if track == "labelled-pool" else None)


def dataset_of(config: RunConfig) -> Dataset:
    """The run's data set. Raises `DataError`."""
    data = config.data
    return load_dataset(data.name, data.root, path=data.path, image_size=data.image_size)


def preprocessing(dataset: Dataset, config: RunConfig) -> Preprocessing:
    """What a training image goes through: the run's choice, or else the data set's own."""
    crop, flip = config.augmentation.crop_padding, config.augmentation.horizontal_flip
    return Preprocessing(
        mean=dataset.mean,
        std=dataset.std,
        crop_padding=dataset.crop_padding if crop is None else crop,
        horizontal_flip=dataset.horizontal_flip if flip is None else flip,
        channels_last=config.training.channels_last,
    )


def _views(images: Tensor, view: Preprocessing, seed: int) -> Tensor:
    """One augmented view of each image, which depends on nothing but the image and the seed."""
    head = f"view:{seed}:".encode()
    views = []
    for image in images:
        digest = sha256(head + sample_key(image.numpy())).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        views.append(view.augmented(image[None], generator))
    return torch.cat(views).contiguous()
