"""The id of a student of a sweep: a hash of everything that its result depends on.

Two sweeps that share a student share its id. Neither paths nor devices, threads or jobs count: files count by what is
in them, an own teacher by its training, and any other by its address, model and version.
"""

import json
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from distill_worker.buying.known_teachers import url_of
from distill_worker.config.data_sections import Data
from distill_worker.config.run_config import RunConfig
from distill_worker.data.digest import digest
from distill_worker.data.selection import GRADIENTS, PIXELS, STUDENT
from distill_worker.errors import ConfigError
from distill_worker.experiments.comparison.cells import Comparison
from distill_worker.experiments.comparison.students import dataset_of
from distill_worker.runs.resolution import resolved_like
from distill_worker.runs.self_training.assistant import outside_weights
from distill_worker.teachers.http_errors import public_url
from shared.networks import runs_code, source_digest

_VERSION: Final = 1
"""To be raised when the same settings begin to mean another student."""
_NOT_SEMANTIC: Final = ("device", "threads")
"""Settings of `[training]` that are part of a run's identity, but not of a student's id."""
HOW_IT_IS_BOUGHT: Final[Any] = {
    "url",
    "request_size",
    "concurrency",
    "timeout_seconds",
    "give_up_after_seconds",
    "repeats_are_free",
    "price_per_call",
    "currency",
    "expect_agreement",
    "num_classes",
    "binary",
}
"""Settings of `[teacher]` that change no output; `url` is identified otherwise."""


def student_id(config: RunConfig, teacher: str) -> str:
    """The id of the student of a resolved run, 16 hexadecimal digits.

    Args:
        config: the run.
        teacher: the id of its data and teacher; see `source_id`. A student without a teacher depends on the data alone.

    Raises:
        ConfigError: a file that the student depends on cannot be read.
    """
    return _hash(
        {
            "version": _VERSION,
            "run": _run(config),
            "source": teacher if config.needs_teacher else _data(config.data),
            "time": config.training.budget,
        }
    )


def source_id(comparison: Comparison) -> str:
    """The id of the data of a resolved comparison, and of what its `[teacher]` or own teacher answers."""
    config = comparison.cells[0].config
    address = config.resolved_teacher
    own = comparison.compare.teacher
    terms = address.model_dump(
        mode="json", exclude=HOW_IT_IS_BOUGHT | (set() if own is None else {"model", "model_version"})
    )
    return _hash(
        {
            "data": _data(config.data),
            "classes": config.data.classes,
            "terms": terms,
            "teacher": [own_teacher_id(comparison), own.variant] if own is not None else public_url(url_of(address)),
        }
    )


def own_teacher_id(comparison: Comparison) -> str:
    """The id of the training of a resolved comparison's own teacher."""
    teacher = comparison.compare.teacher
    if teacher is None:
        raise ValueError("expected a comparison with an own teacher")
    run = resolved_like(comparison.teacher_run(teacher), comparison.cells[0].config)
    return _hash({"run": _run(run), "data": _data(run.data)})


def _run(config: RunConfig) -> dict[str, Any]:
    """The settings that a result depends on, JSON-able, without what is identified otherwise."""
    values = dict(config.identity.values)
    training: Mapping[str, Any] = values["training"]
    values["training"] = {name: value for name, value in training.items() if name not in _NOT_SEMANTIC}
    size = {} if config.student.image_size is None else {"image_size": list(config.student.image_size)}
    values["student"] = {"network": [_network(name) for name in config.networks], **size}
    if config.self_training is not None:
        values["self_training"] = {**values["self_training"], "network": None}
    features = config.budget.features
    if features not in (PIXELS, GRADIENTS, STUDENT):
        features = outside_weights.fingerprint(Path(features))
    return {**values, "features": features, **outside_weights.identity_facts(config)}


def _network(name: str) -> str:
    """A network without its place; one of the user's own with a digest of its code."""
    if not runs_code(name):
        return name
    try:
        return f"{name.rpartition('/')[2]} {source_digest(name)}"
    except ValueError as error:
        raise ConfigError(f"student.{error}") from error


def _data(data: Data) -> dict[str, Any]:
    """A data set: by its name, and files of the user's own by what is in them."""
    named = data.model_dump(mode="json", include={"name", "image_size"}) | (
        {} if data.has_labels else {"labels": "none"}
    )
    return named if data.path is None else {**named, "content": _content(data.model_dump_json())}


@cache
def _content(data: str) -> str:
    dataset = dataset_of(Data.model_validate_json(data))
    parts = [values for split in (dataset.train, dataset.test) for values in (split.images, split.labels)]
    return digest(*(values for values in parts if values is not None))


def _hash(facts: Mapping[str, Any]) -> str:
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
