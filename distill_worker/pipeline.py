"""One run from its configuration: samples, purchase, training, result. The order of things, and nothing else."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill_worker import fetch as purchase
from distill_worker.cache import Cache
from distill_worker.config import RunConfig
from distill_worker.datasets import Dataset, load_dataset
from distill_worker.errors import ConfigError
from distill_worker.evaluate import count_correct
from distill_worker.methods import objective
from distill_worker.run_directory import RunDirectory
from distill_worker.selection import select
from distill_worker.teachers.base import Description, Teacher
from distill_worker.teachers.oip import OipTeacher
from distill_worker.train import Progress, TrainingSet, train
from shared.networks import build_network
from shared.sample_key import sample_keys
from shared.weights import WeightsCard, weights_bytes

TRACK = "queried"
"""What the student may train on: the n queried samples, with their labels."""


@dataclass(frozen=True)
class Samples:
    """A data set, the keys of its training images, and the chosen ones."""

    dataset: Dataset
    keys: list[bytes]
    chosen: list[int]

    @classmethod
    def of(cls, config: RunConfig) -> "Samples":
        """Load the data set and choose `budget.n` of its training samples."""
        dataset = load_dataset(config.data.name, config.data.root)
        keys = sample_keys(dataset.train.images.numpy())
        return cls(dataset, keys, select(keys, config.budget.n, config.budget.seed))

    @cached_property
    def images(self) -> dict[bytes, NDArray[np.uint8]]:
        """Every training image by its key."""
        return dict(zip(self.keys, self.dataset.train.images.numpy(), strict=True))

    @cached_property
    def wanted(self) -> dict[bytes, NDArray[np.uint8]]:
        """The chosen images by their keys, in order."""
        return {self.keys[index]: self.images[self.keys[index]] for index in self.chosen}


@contextmanager
def connect(
    config: RunConfig, on_retry: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[OipTeacher, Description]]:
    """The configured teacher and what it says of itself; TEACHER_URL and the API key come from the environment."""
    address = config.teacher
    with OipTeacher(
        os.environ.get("TEACHER_URL") or address.url,
        model=address.model,
        api_key=api_key(),
        timeout_seconds=address.timeout_seconds,
        give_up_after_seconds=address.give_up_after_seconds,
        on_retry=on_retry,
    ) as teacher:
        yield teacher, teacher.describe()


def api_key() -> str | None:
    """TEACHER_API_KEY, or the first line of the file that TEACHER_API_KEY_FILE names, or None.

    Raises:
        ConfigError: the file cannot be read, or the key holds what no HTTP header can carry.
    """
    source, key = "TEACHER_API_KEY", os.environ.get("TEACHER_API_KEY", "")
    if not key and (path := os.environ.get("TEACHER_API_KEY_FILE")):
        source = "TEACHER_API_KEY_FILE"
        try:
            key = next(iter(Path(path).read_text(encoding="utf-8").splitlines()), "")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source}: cannot read {path} ({error})") from error
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"{source}: expected printable ASCII characters, got others; was the key pasted whole?")
    return key or None


def make_plan(
    config: RunConfig, samples: Samples, teacher: Teacher, description: Description, cache: Cache
) -> purchase.Plan:
    """What buying the chosen samples' outputs would take."""
    return purchase.plan(teacher, description, cache, samples.wanted, request_size=config.teacher.request_size)


def buy(
    config: RunConfig,
    samples: Samples,
    teacher: Teacher,
    description: Description,
    cache: Cache,
    *,
    on_plan: Callable[[purchase.Plan], None] = lambda _: None,
    on_wait: Callable[[], None] = lambda: None,
    progress: purchase.Progress = lambda _done, _plan: None,
    abandon: purchase.Abandoned | None = None,
) -> tuple[purchase.Plan, int]:
    """Buy what is missing as the cache's sole buyer; the plan that was carried out and the number of samples bought."""
    with cache.sole_buyer(on_wait):
        if abandon is not None:
            purchase.abandon(abandon, teacher, description, cache, samples.wanted)
        plan = make_plan(config, samples, teacher, description, cache)
        on_plan(plan)
        bought = purchase.fetch(
            teacher,
            description,
            cache,
            plan,
            samples.images,
            concurrency=config.teacher.concurrency,
            progress=progress,
        )
    return plan, bought


def train_student(
    config: RunConfig,
    samples: Samples,
    targets: torch.Tensor | None,
    teacher_id: str | None,
    *,
    progress: Progress = lambda _step, _loss: None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Train the configured student, going on from what its run directory holds; the result as JSON-able facts."""
    training, dataset = config.training, samples.dataset
    device = _device(training.device)
    torch.set_num_threads(training.threads)
    directory = RunDirectory(config.output.directory)
    with directory.opened(_identity(config, teacher_id), fresh=fresh):
        if (known := directory.result()) is not None:
            return known
        started = time.perf_counter()
        network = _new_network(config, dataset).to(device)
        crop, flip = config.augmentation.crop_padding, config.augmentation.horizontal_flip
        chosen = torch.tensor(samples.chosen)
        data = TrainingSet(
            images=dataset.train.images[chosen].to(device),
            labels=dataset.train.labels[chosen].to(device),
            targets=targets.to(device) if targets is not None else None,
            mean=dataset.mean,
            std=dataset.std,
            crop_padding=dataset.crop_padding if crop is None else crop,
            horizontal_flip=dataset.horizontal_flip if flip is None else flip,
        )
        train(network, data, objective(config.method), training, directory, progress)
        test = dataset.test
        correct = count_correct(
            network, test.images.to(device), test.labels.to(device), mean=dataset.mean, std=dataset.std
        )
        result = {
            "method": config.method.name,
            "track": TRACK,
            "data": dataset.name,
            "network": config.student.network,
            "n": len(samples.chosen),
            "seed": training.seed,
            "steps": training.steps,
            "teacher_id": teacher_id,
            "accuracy": correct / len(test.labels),
            "correct": correct,
            "test_samples": len(test.labels),
            "seconds": round(time.perf_counter() - started, 3),
            "device": str(device),
        }
        directory.finish(weights_bytes(network, _card(config, dataset, teacher_id)), result)
        return result


def _identity(config: RunConfig, teacher_id: str | None) -> dict[str, Any]:
    """Everything that a result depends on: not where the teacher lives, nor where files are written."""
    identity = config.model_dump(
        mode="json", exclude={"teacher": True, "output": True, "data": {"root"}, "training": {"checkpoint_every"}}
    )
    return {**identity, "teacher_id": teacher_id, "track": TRACK}


def _new_network(config: RunConfig, dataset: Dataset) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        try:
            return build_network(
                config.student.network, num_classes=len(dataset.class_names), in_channels=dataset.image_shape[0]
            )
        except ValueError as error:
            raise ConfigError(f"student.{error}") from error


def _card(config: RunConfig, dataset: Dataset, teacher_id: str | None) -> WeightsCard:
    channels, height, width = dataset.image_shape
    return WeightsCard(
        network=config.student.network,
        num_classes=len(dataset.class_names),
        in_channels=channels,
        image_size=(height, width),
        mean=dataset.mean,
        std=dataset.std,
        class_names=dataset.class_names,
        provenance={
            "data": dataset.name,
            "n": config.budget.n,
            "method": config.method.model_dump(),
            "seed": config.training.seed,
            "steps": config.training.steps,
            "teacher_id": teacher_id,
        },
    )


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError('training.device: expected a CUDA device, found none; use "auto" or "cpu"')
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
