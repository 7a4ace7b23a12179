"""The samples of a run as tensors: those to buy, to train on and to validate with. `CandidatePool` selects them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill_worker.config.data_sections import Data
from distill_worker.config.run_config import RunConfig
from distill_worker.data.datasets import load_dataset
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.pictures.reading import Picture
from distill_worker.data.preprocessing import CROP_FLIP, Preprocessing
from distill_worker.errors import ConfigError
from distill_worker.methods import Mixing
from distill_worker.methods.terms.base import probabilities_of
from distill_worker.methods.terms.mixup import rounded_mixtures
from distill_worker.runs.sampling.candidate_pool import CandidatePool
from distill_worker.training.training_set import Pool
from shared.sample_key import sample_key, sample_keys


@dataclass(frozen=True)
class HeldOut:
    """Samples that are bought and never trained on: on them the student is compared with its teacher."""

    keys: list[bytes]
    """Their sample keys."""
    images: Tensor
    """uint8 `[samples, channels, height, width]`."""


@dataclass(frozen=True)
class Samples:
    """The samples of a run. Row i of `queried` goes to the teacher, row i of `images` to the student."""

    dataset: Dataset
    labels: Tensor | None
    """int64, one for each training image, with the run's label noise; None if they have none."""
    chosen: list[int]
    """Positions in the training split, ascending: the samples to query."""
    validation: list[int]
    """Positions of the validation samples."""
    candidates: list[int]
    """Positions to select from: one for each distinct image, without those that an imbalance removes."""
    queried: Tensor
    """uint8 `[queries, channels, height, width]`: the images that the teacher gets, mixtures last."""
    images: Tensor
    """uint8, shaped like `queried`: the images that the student gets, before augmentation."""
    label_probabilities: Tensor
    """float32 `[queries, classes]`; zeros without labels."""
    ranked_rows: list[int]
    """The rows of the chosen samples in the order of selection, which is the order in which they are bought."""
    precomputed_keys: list[bytes] | None = None
    """The sample keys of `queried`, if they are computed already."""
    held_out: HeldOut | None = None
    """None if no samples are held out."""

    @classmethod
    def of(cls, config: RunConfig, chosen: Sequence[bytes] | None = None) -> "Samples":
        """Load the data set and select `budget.n` of its training samples, or take those with the given keys.

        Args:
            config: the run.
            chosen: sample keys. Without them the run's strategy selects, which it can do for one round only.

        Raises:
            DataError: the data cannot be read.
            ConfigError: there are too few samples, or the strategy selects in rounds.
        """
        return cls.among(dataset_of(config), config, chosen)

    @classmethod
    def among(cls, dataset: Dataset, config: RunConfig, chosen: Sequence[bytes] | None = None) -> "Samples":
        """Select from a loaded data set."""
        return cls.chosen_of(CandidatePool.of(dataset, config), config, chosen)

    @classmethod
    def chosen_of(cls, pool: CandidatePool, config: RunConfig, keys: Sequence[bytes] | None = None) -> "Samples":
        """Select from ranked samples."""
        if keys is None:
            if config.budget.rounds > 1:
                raise ConfigError(
                    f"budget.strategy: {config.budget.strategy} chooses with a student, in rounds: distill-worker run"
                )
            keys = pool.first()
        dataset, labels, classes = pool.dataset, pool.labels, len(pool.dataset.class_names)
        chosen = pool.positions(keys)
        positions = torch.tensor(chosen)
        takes_all = len(chosen) == len(dataset.train.images)  # then the images need not be copied
        images = dataset_images = dataset.train.images if takes_all else dataset.train.images[positions]
        probabilities = (
            torch.zeros(len(chosen), classes) if labels is None else probabilities_of(labels[positions], classes)
        )
        queried = images
        if config.augmentation.query_view == "augmented":
            queried = _views(images, preprocessing(dataset, config), config.budget.seed)
        mixing = next((method for method in config.methods if isinstance(method, Mixing)), None)
        if mixing is not None and mixing.mixtures:
            mixtures, mixed = rounded_mixtures(mixing, images, probabilities, seed=config.budget.seed)
            queried, images = torch.cat([queried, mixtures]), torch.cat([images, mixtures])
            probabilities = torch.cat([probabilities, mixed])
        return cls(
            dataset,
            labels,
            chosen,
            pool.validation,
            sorted(pool.ranked),
            queried,
            images,
            probabilities,
            _rows_of(keys, [pool.key_of[position] for position in chosen]),
            [pool.key_of[position] for position in chosen] if queried is dataset_images else None,
            _held_out(pool),
        )

    @cached_property
    def keys(self) -> list[bytes]:
        """The sample keys of `queried`, row by row."""
        return self.precomputed_keys or sample_keys(np.ascontiguousarray(self.queried.numpy()))

    def images_by_key(self) -> dict[bytes, NDArray[np.uint8]]:
        """Every image that a purchase for this data set may contain: all training images, and `wanted`."""
        train = self.dataset.train
        return dict(zip(train.keys, train.images.numpy(), strict=True)) | self.wanted

    def files_by_key(self) -> dict[bytes, list[Picture]]:
        """The user's own files of the training images, if there are any: several, if they have the same pixels."""
        files: dict[bytes, list[Picture]] = {}
        split = self.dataset.train
        for key, file in zip(split.keys if split.files else (), split.files or (), strict=True):
            files.setdefault(key, []).append(file)
        return files

    @cached_property
    def wanted(self) -> dict[bytes, NDArray[np.uint8]]:
        """The images to buy, by sample key, in the order of purchase.

        Those that are held out come first; then those to train on, in the order of selection; mixtures come last. So a
        part of a purchase holds the samples that a nested strategy selects for a smaller n.
        """
        held_out = (
            {} if self.held_out is None else dict(zip(self.held_out.keys, self.held_out.images.numpy(), strict=True))
        )
        images = self.queried.numpy()
        mixtures = range(len(self.chosen), len(images))
        return held_out | {self.keys[row]: images[row] for row in (*self.ranked_rows, *mixtures)}

    @property
    def n(self) -> int:
        """How many samples the run uses: those to train on, and those that are held out; no mixtures."""
        return len(self.chosen) + (0 if self.held_out is None else len(self.held_out.keys))

    @property
    def bought_keys(self) -> list[bytes]:
        """The sample keys of all that is bought: `keys`, then those that are held out."""
        return self.keys if self.held_out is None else [*self.keys, *self.held_out.keys]

    def digest(self) -> str:
        """A hash of these samples and their labels, 16 hexadecimal digits."""
        digest = sha256(b"".join(self.bought_keys))
        digest.update(self.label_probabilities.numpy().tobytes())
        return digest.hexdigest()[:16]

    def pool(self, config: RunConfig) -> Pool | None:
        """The images that a track adds to the queried samples, if a method or the labels take them from a pool.

        They are all candidates that are not for validation.
        """
        if config.track == "queried" or config.self_training is not None:
            return None
        positions = torch.tensor(self._candidates_without(self.validation))
        labels = None if self.labels is None or config.track != "labelled-pool" else self.labels[positions]
        return Pool(self.dataset.train.images[positions], labels)

    @property
    def unbought(self) -> list[int]:
        """Positions, ascending, of the candidates that are neither bought nor for validation."""
        return self._candidates_without(self.chosen, self.validation)

    def _candidates_without(self, *parts: Sequence[int]) -> list[int]:
        taken = set[int]().union(*parts)
        return [position for position in self.candidates if position not in taken]


def dataset_of(config: RunConfig) -> Dataset:
    """The run's data set. Raises `DataError`."""
    return loaded(config.data)


def loaded(data: Data) -> Dataset:
    """The data set of a section. Raises `DataError`."""
    return load_dataset(
        data.name,
        data.root,
        path=data.path,
        image_size=data.image_size,
        labels=data.labels,
        class_names=data.class_names,
        store=data.store,
        unreadable=data.unreadable,
        rules=data.rules_used,
    )


def preprocessing(dataset: Dataset, config: RunConfig) -> Preprocessing:
    """The preprocessing of training images: as the run configures it, or else by the data set's defaults."""
    crop, flip = config.augmentation.crop_padding, config.augmentation.horizontal_flip
    return Preprocessing(
        mean=dataset.mean,
        std=dataset.std,
        crop_padding=dataset.crop_padding if crop is None else crop,
        horizontal_flip=dataset.horizontal_flip if flip is None else flip,
        channels_last=config.training.memory_format == "channels_last",
        policy=config.augmentation.policy,
        smallest_crop=config.augmentation.smallest_crop,
        size=config.student.image_size,
    )


def _held_out(pool: CandidatePool) -> HeldOut | None:
    if not pool.held_out:
        return None
    images = pool.dataset.train.images[torch.tensor(pool.held_out)]
    return HeldOut([pool.key_of[position] for position in pool.held_out], images)


def _rows_of(keys: Sequence[bytes], rows: Sequence[bytes]) -> list[int]:
    """The row of each key."""
    row_of = {key: row for row, key in enumerate(rows)}
    return [row_of[key] for key in keys]


def _views(images: Tensor, view: Preprocessing, seed: int) -> Tensor:
    """One crop of each image, flipped or not. It depends on the image and the seed alone."""
    head = f"view:{seed}:".encode()
    views = []
    for image in images:
        digest = sha256(head + sample_key(image.numpy())).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        views.append(view.augmented(image[None], generator, policy=CROP_FLIP))
    return torch.cat(views).contiguous()
