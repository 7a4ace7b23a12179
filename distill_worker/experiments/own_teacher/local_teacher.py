"""A local teacher: trained on all labels, and served on this machine behind a real quota."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import torch

from distill_worker.buying.known_teachers import load_description, save_description
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.config.teacher_address import OpenInferenceAddress
from distill_worker.data.datasets.dataset import Split
from distill_worker.errors import TeacherError, storage_errors
from distill_worker.experiments.display import Display
from distill_worker.experiments.own_teacher.degrade import degrade_weights
from distill_worker.experiments.own_teacher.local_service import create_key, enlarge_quota, served
from distill_worker.runs.sampling.samples import Samples
from distill_worker.runs.train_student import train_student
from distill_worker.teachers.base import Description, Quota, Teacher
from distill_worker.teachers.open_teacher import teacher_at
from distill_worker.training.evaluate import count_correct
from distill_worker.training.finished.student import load_student
from shared.atomic_file import write_atomically
from shared.degradation import Degradation

_OWN: Final = "own teacher"


@dataclass(frozen=True)
class TrainedTeacher:
    """The network of a teacher, its accuracy and its weights file."""

    network: str
    accuracy: float
    """On the test images, of what is sold: a share of 1."""
    weights: Path
    accuracy_before: float | None = None
    """Before it was made worse; None for a teacher that is sold as it was trained."""

    def facts(self) -> dict[str, Any]:
        """The teacher as JSON-able facts."""
        before = {} if self.accuracy_before is None else {"accuracy_before_degradation": self.accuracy_before}
        return {"network": self.network, "accuracy": self.accuracy, **before, "weights": str(self.weights)}


def train_teacher(config: RunConfig, display: Display) -> TrainedTeacher:
    """Train a teacher, or load the result of an earlier run."""
    title = f"teacher ({config.student.network} on {config.data.name})"
    with display.progress_bar(title, config.training.steps) as move:
        result = train_student(
            config,
            Samples.of(config),
            {},
            None,
            progress=lambda step, loss: move(step, f"loss {loss:.4f}"),
            note=display.note,
        )
        move(config.training.steps, "")
    return TrainedTeacher(config.student.network, result["accuracy"], config.output.directory / "student.safetensors")


def degraded(
    teacher: TrainedTeacher,
    directory: Path,
    *,
    prune: float,
    degradation: Degradation,
    test: Split,
    device: torch.device,
) -> TrainedTeacher:
    """A worse teacher, with its own accuracy. Its weights file, and the accuracy beside it, are in `directory`.

    Args:
        teacher: to be made worse.
        directory: for its files; if they are there, nothing is computed again.
        prune: see `degrade_weights`.
        degradation: likewise.
        test: the test images, with labels.
        device: classifies them.

    Raises:
        WeightsFileError: see `degrade_weights`; RunError: the accuracy cannot be written.
    """
    weights = directory / "degraded.safetensors"
    if not weights.exists():
        degrade_weights(teacher.weights, weights, prune=prune, degradation=degradation, trust_code=True)
    accuracy = _stored_accuracy(weights)
    if accuracy is None:
        accuracy = _accuracy_of(weights, test, device)
        _store_accuracy(weights, accuracy)
    return replace(teacher, weights=weights, accuracy=accuracy, accuracy_before=teacher.accuracy)


def _accuracy_of(weights: Path, test: Split, device: torch.device) -> float:
    """The share of test images that the answers of a teacher get right: noise and rounding are part of them."""
    teacher = load_student(weights, trust_code=True)
    card = teacher.card
    correct = count_correct(
        teacher.network.to(device),
        test.images.to(device),
        test.needed_labels.to(device),
        mean=card.mean,
        std=card.std,
        resize=card.resize,
        degradation=card.degradation,
    )
    return correct / len(test.images)


def _stored_accuracy(weights: Path) -> float | None:
    """The accuracy that was stored beside these very weights, or None."""
    try:
        stored = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return float(stored["accuracy"]) if stored["weights"] == _digest_of(weights) else None


def _store_accuracy(weights: Path, accuracy: float) -> None:
    content = json.dumps({"weights": _digest_of(weights), "accuracy": accuracy})
    with storage_errors(weights.parent):
        write_atomically(weights.with_suffix(".json"), f"{content}\n".encode())


@contextmanager
def serving(
    teacher: TrainedTeacher,
    directory: Path,
    *,
    quota: int,
    features: bool,
    outputs: str | None = None,
    display: Display,
) -> Iterator[Teacher]:
    """Serve a teacher and yield a client whose API key has that quota; ledger, log and key stay in `directory`.

    Args:
        teacher: to serve.
        directory: one for each set of outputs.
        quota: in samples.
        features: whether the key may request features, too.
        outputs: the kinds of output that it may request; by default logits.
        display: shows where it is served.
    """
    service, name = _service(directory), _key_name(features=features)
    key_file = directory / name
    create_key(service, name=name, quota=quota, key_file=key_file, features=features, outputs=outputs)
    with served(teacher.weights, service) as url:
        display.note(f"serving the teacher at {url}; its ledger and log are in {service}")
        address = RunConfig.model_fields["teacher"].default
        with teacher_at(address, url=url, api_key=key_file.read_text(encoding="ascii").strip()) as client:
            yield client


def add_to_quota(samples: int, directory: Path, *, features: bool) -> None:
    """Add samples to the quota of the API key that `serving` made in `directory`."""
    enlarge_quota(_service(directory), name=_key_name(features=features), samples=samples)


def _service(directory: Path) -> Path:
    return directory / "service"


def _key_name(*, features: bool) -> str:
    return "api-key-with-features" if features else "api-key"


def quota_of(client: Teacher) -> Quota:
    """The quota of the client's API key."""
    quota = client.quota()
    if quota is None:
        raise TeacherError("expected a quota from the local service at /v1/quota, got none")
    return quota


def save_own_description(teacher: TrainedTeacher, cache: Cache, description: Description, *, sold: str) -> None:
    """Store what the service stated of an own teacher, if the cache can be written; `sold` names what the key sees."""
    if not cache.is_read_only:
        save_description(cache, _address_of(teacher), f"{_OWN}, {sold}", description)


def own_description(teacher: TrainedTeacher, cache: Cache, *, sold: str) -> Description | None:
    """What the service of an own teacher stated earlier, or None; this serves nothing."""
    stored = load_description(cache, _address_of(teacher), f"{_OWN}, {sold}")
    return None if stored is None else stored[0]


def _address_of(teacher: TrainedTeacher) -> OpenInferenceAddress:
    """Names a teacher by its weights: the port of its service changes with every start."""
    return OpenInferenceAddress(model=_digest_of(teacher.weights))


def _digest_of(weights: Path) -> str:
    return sha256(weights.read_bytes()).hexdigest()
