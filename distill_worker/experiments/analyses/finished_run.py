"""What an analysis reads of a finished run: its student, its data, and the teacher's outputs that it was trained on.

A run directory does not say where its data and its cache are. A configuration does; without one, the user says it.

Invariant: the samples and the test images are those that the run was trained and tested with. They are compared by
their digests. Nothing is bought, and no teacher is contacted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from distill_worker.cache import Cache
from distill_worker.config.data_sections import Data
from distill_worker.config.load import parse_config
from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import trained_before
from distill_worker.data.datasets import has_files
from distill_worker.data.datasets.dataset import Dataset
from distill_worker.data.digest import digest
from distill_worker.data.pictures.rules import FIRST
from distill_worker.errors import CacheError, RunError, WorkerError
from distill_worker.runs.resolution import kind_of_device
from distill_worker.runs.rounds import selected_samples
from distill_worker.runs.sampling.samples import Samples
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.finished.student import FinishedStudent
from distill_worker.training.teacher_logits import to_logits
from shared.output_kinds import LABEL, LOGITS, TOP_K, OutputKind

_MOST_JUDGED: Final = 2000
_SEED: Final = 0
_LEVELS: Final = 3
"""Folders above a run directory in which its cache is searched."""


@dataclass(frozen=True)
class BoughtOutputs:
    """The teacher's outputs of the samples that were bought."""

    log_probabilities: Tensor
    """float64 `[samples, classes]`, in the data's order of classes; of a label, 0 for its class and else -inf."""
    are_whole: bool
    """Whether the teacher returned the probability of every class."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run."""

    config: RunConfig
    student: FinishedStudent
    samples: Samples

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self.config.output.directory

    @property
    def device(self) -> torch.device:
        """The device of the run's training, if this machine has it; otherwise the CPU."""
        return kind_of_device(self.config.training.device)

    @property
    def dataset(self) -> Dataset:
        """The run's data."""
        return self.samples.dataset

    @cached_property
    def bought_images(self) -> Tensor:
        """uint8 `[samples, channels, height, width]`: the bought samples, as the teacher got them; no mixtures."""
        return self.samples.queried[: len(self.samples.chosen)]

    @property
    def judged_images(self) -> Tensor:
        """The test images; without them, training images that were not bought, at most 2,000, drawn by a fixed seed.

        Classes follow each other in a folder of images, so its first ones would be of a few classes.
        """
        if self.dataset.has_test:
            return self.dataset.test.images
        train, samples = self.dataset.train.images, self.samples
        positions = torch.tensor(samples.unbought or samples.chosen)
        drawn = torch.randperm(len(positions), generator=torch.Generator().manual_seed(_SEED))[:_MOST_JUDGED]
        return train[positions[drawn.sort().values]]

    @cached_property
    def bought(self) -> BoughtOutputs | None:
        """The teacher's outputs of `bought_images`; None if the run learned from no distribution of a teacher.

        Raises:
            CacheError: the cache does not have them all.
        """
        facts = self.student.facts()
        if facts.teacher_id is None or LOGITS not in self.config.teacher_kinds:
            return None
        # Earlier versions bought logits alone, and did not say so.
        kind, keys = OutputKind.parse(facts.teacher_output or LOGITS), self.samples.keys[: len(self.samples.chosen)]
        with Cache(self.config.output.cache, if_absent="empty") as cache:
            stream_id = cache.streams(str(kind)).get(facts.teacher_id)
            held = 0 if stream_id is None else len(keys) - len(cache.missing(stream_id, keys))
            if stream_id is None or held < len(keys):
                raise CacheError(
                    f"{cache.place}: expected the {len(keys)} outputs ({kind}) of teacher {facts.teacher_id} that the "
                    f"student was trained on, got {held} of them; name the cache of the run by --cache. Nothing was "
                    "spent"
                )
            values = torch.from_numpy(cache.aligned(stream_id, keys))
        return BoughtOutputs(self._in_order(_log_probabilities(kind, values, self._num_classes)), _is_whole(kind))

    @property
    def held_out_divergence(self) -> float | None:
        """The KL by which `[tuning]` chose the settings, in nats, on outputs that its trials were not trained on."""
        tuning = (RunDirectory(self.directory).result() or {}).get("tuning", {})
        divergence = tuning.get("divergence")
        return None if divergence is None else float(divergence)

    @property
    def _num_classes(self) -> int:
        return len(self.dataset.class_names)

    def _in_order(self, outputs: Tensor) -> Tensor:
        order = identity_in(self.directory).get("class_order")
        return outputs if order is None else outputs[:, order]


def finished_run(config: RunConfig, student: FinishedStudent, *, samples: Samples | None = None) -> FinishedRun:
    """A finished run with its data.

    Args:
        config: of the run.
        student: of its directory.
        samples: of the run, if they are selected already.

    Raises:
        RunError: the run is one of other samples or test images.
        DataError, ConfigError: the data cannot be read.
    """
    run = FinishedRun(config, student, samples or selected_samples(config, keep=False).samples)
    _check_same(run)
    return run


def config_of(directory: Path, *, cache: Path | str | None, root: Path, path: Path | None) -> RunConfig:
    """The configuration of the run in a directory, out of its run.json.

    Args:
        directory: of a run.
        cache: of the run; None for the file cache.sqlite in one of the three folders above the directory.
        root: the folder of the public data sets.
        path: the file or folder of the user's own data.

    Raises:
        RunError: the directory is no run's, or its configuration cannot be read.
    """
    identity = identity_in(directory)
    sections = {name: identity[name] for name in RunConfig.model_fields if name in identity}
    if "data" not in sections:
        raise RunError(
            f"{directory}: expected the directory of a finished run, with run.json and result.json, got a folder "
            "without them; name the output.directory of one run, or the TOML file of a comparison"
        )
    document = {
        **sections,
        "data": {**sections["data"], "root": root, "path": path, **_class_names(identity), **_rules(identity)},
        "budget": _with_features(directory, sections.get("budget", {})),
        "training": trained_before(sections.get("training", {})),
        "output": {"directory": directory, "cache": cache or _cache_above(directory)},
    }
    try:
        return parse_config(document, source=str(directory / "run.json"))
    except WorkerError as error:
        raise RunError(f"{error}. Name the TOML file of the run in place of its directory") from error


def _class_names(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The names of the teacher's classes, if the run's own data had no labels."""
    stored = Data(**{name: identity["data"][name] for name in ("name", "labels") if name in identity["data"]})
    return {"class_names": identity.get("class_names", ())} if stored.takes_class_names else {}


def _rules(identity: Mapping[str, Any]) -> dict[str, Any]:
    """By which the run read its pictures, if it had some."""
    has_pictures = has_files(identity["data"].get("name", ""))
    return {"rules": identity.get("picture_rules", FIRST)} if has_pictures else {}


def identity_in(directory: Path) -> Mapping[str, Any]:
    """What the run in a directory depends on, as its run.json says; empty without one. Raises `RunError`."""
    identity = (RunDirectory(directory).read_json("run.json") or {}).get("identity")
    return identity if isinstance(identity, dict) else {}


def _with_features(directory: Path, budget: Mapping[str, Any]) -> dict[str, Any]:
    """`[budget]` with `features`, which a saved selection names by the file alone."""
    selection = (RunDirectory(directory / "rounds").read_json("0001.json") or {}).get("of", {})
    return {**budget, **{name: selection[name] for name in ("features",) if name in selection}}


def _cache_above(directory: Path) -> Path:
    """The cache as `run` and `compare` put it by default."""
    places = [folder / "cache.sqlite" for folder in directory.absolute().parents[:_LEVELS]]
    return next((place for place in places if place.exists()), places[0])


def _check_same(run: FinishedRun) -> None:
    """Check that samples and test images are those of the run. Earlier versions stored no digest of the latter."""
    test = run.dataset.test
    digests = {"samples": run.samples.digest(), "test_images": test.digest()}
    digests |= {} if test.labels is None else {"test_labels": digest(test.labels)}
    stored = identity_in(run.directory)
    for name, value in digests.items():
        if stored.get(name, value) != value:
            raise RunError(
                f"{run.directory}: expected the {name.replace('_', ' ')} that the run was made with (digest "
                f"{stored[name]}), got others ({value}): the data have changed, the run selected its samples with "
                "settings that its directory does not hold, or it was trained with --held. Name the TOML file of the "
                "run or comparison in place of the directory, or the data by --root or --path"
            )


def _is_whole(kind: OutputKind) -> bool:
    return kind.name not in (LABEL, TOP_K)


def _log_probabilities(kind: OutputKind, values: Tensor, num_classes: int) -> Tensor:
    """float64 `[samples, classes]`, in the teacher's order of classes."""
    if kind.name == LABEL:
        return one_hot(values.long().flatten(), num_classes).double().log()
    return to_logits(kind, values, num_classes).double().log_softmax(dim=1)
