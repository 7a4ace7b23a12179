"""What a run is: one TOML file, every key known, saved with the run.

A key that is not listed here is an error that names it. Secrets are never here: the API key comes from the
environment (TEACHER_API_KEY, or the file that TEACHER_API_KEY_FILE names).
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from distill_worker.errors import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(_Section):
    """Which data set, and where its files are kept."""

    name: Literal["digits", "fashion-mnist"]
    root: Path = Path("data")


class TeacherAddress(_Section):
    """Where outputs are bought, and how fast."""

    url: str = Field(default="http://127.0.0.1:8000", pattern=r"^https?://")
    """TEACHER_URL in the environment wins over it."""
    model: str = "teacher"
    request_size: int = Field(default=32, ge=1)
    """Samples a request."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """Requests in flight at once."""
    timeout_seconds: float = Field(default=60, gt=0)
    give_up_after_seconds: float = Field(default=120, ge=0)
    """How long one request is retried through failures that may pass."""


class Budget(_Section):
    """How many samples the student may learn from, and which."""

    n: int | None = Field(default=None, ge=2)
    """Samples of the training set; one teacher call each. All of them when absent."""
    seed: int = 0
    """Which samples: the same seed with a larger n keeps every sample of the smaller n."""


class Student(_Section):
    """The network to train."""

    network: str


class CE(_Section):
    """Cross-entropy on the labels: no teacher, no calls."""

    name: Literal["ce"] = "ce"
    needs_teacher: Literal[False] = Field(default=False, exclude=True)


class KD(_Section):
    """Knowledge distillation (Hinton et al. 2015), weighted as in Tian et al. 2020, arXiv 1910.10699."""

    name: Literal["kd"] = "kd"
    needs_teacher: Literal[True] = Field(default=True, exclude=True)
    temperature: float = Field(default=4.0, gt=0)
    label_weight: float = Field(default=0.1, ge=0)
    weight: float = Field(default=0.9, ge=0)


class CKD(_Section):
    """Comparative knowledge distillation (Wilf et al. 2023, arXiv 2311.02253) with the difference comparison."""

    name: Literal["ckd"] = "ckd"
    needs_teacher: Literal[True] = Field(default=True, exclude=True)
    temperature: float = Field(default=4.0, gt=0)
    label_weight: float = Field(default=1.0, ge=0)
    beta: float = Field(default=1.0, ge=0)
    pairing: Literal["all", "drawn"] = "all"
    """`all`: every ordered pair of the batch (k = 2). `drawn`: `comparisons` random groups of `k` a step."""
    k: int = Field(default=2, ge=2)
    comparisons: int = Field(default=1024, ge=1)

    @model_validator(mode="after")
    def _pairs_are_pairs(self) -> "CKD":
        if self.pairing == "all" and self.k != 2:
            raise ValueError(f"pairing 'all' compares pairs (k = 2), got k = {self.k}; set pairing = 'drawn'")
        return self


_METHODS: dict[str, type[_Section]] = {"ce": CE, "kd": KD, "ckd": CKD}
Method = Annotated[CE | KD | CKD, Field(discriminator="name")]


class Augmentation(_Section):
    """What a training image goes through. Absent values are the data set's own."""

    crop_padding: int | None = Field(default=None, ge=0)
    """Pixels of zero padding before a random crop to the old size."""
    horizontal_flip: bool | None = None


class Training(_Section):
    """The optimisation: SGD with momentum over a fixed number of steps, learning rate on a cosine to zero."""

    seed: int = 0
    """Initial weights, batch order, augmentation, drawn groups."""
    steps: int = Field(default=600, ge=1)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=0.05, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between two checkpoints."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1)
    """CPU threads. Part of the run: another number may change the last bits."""


class Output(_Section):
    """Where things are written."""

    directory: Path = Path("runs/default")
    cache: Path = Path("runs/cache.sqlite")
    """The store of bought outputs; share it between runs."""


class RunConfig(_Section):
    """One run, whole."""

    data: Data
    student: Student
    method: Method
    teacher: TeacherAddress = TeacherAddress()
    budget: Budget = Budget()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    output: Output = Output()


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a TOML file; each override is `section.key=value` with a TOML value (bare words are strings).

    Raises:
        ConfigError: names the file, the key, what was expected and what came.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the configuration ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: expected TOML, got a syntax error ({error})") from error
    for override in overrides:
        _override(document, override)
    return parse_config(document, source=str(path))


def parse_config(document: Mapping[str, Any], *, source: str) -> RunConfig:
    """Check a document that was read from `source`; raises `ConfigError` as `load_config` does."""
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        problems = [_explain(problem) for problem in error.errors(include_url=False)]
        raise ConfigError(f"{source}: " + "; ".join(problems)) from error


def _override(document: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set: expected section.key=value, got {override!r}")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    table = document
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set: {part!r} in {key!r} is a value, not a section")
    table[parts[-1]] = value


def _explain(problem: Any) -> str:
    place = list(problem["loc"])
    if place[:1] == ["method"] and len(place) > 1 and place[1] in _METHODS:
        place[:2] = ["method"]  # the method's name is no key of the file
    where = ".".join(str(part) for part in place) or "document"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key; known there: {', '.join(_known_keys(problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"{where}: required, but absent"
    return f"{where}: {problem['msg']}, got {problem['input']!r}"


def _known_keys(place: Sequence[str | int]) -> list[str]:
    """The keys of the section at `place`; a method's place holds its name."""
    sections: dict[str, type[_Section]] = _METHODS | {
        name: field.annotation
        for name, field in RunConfig.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section)
    }
    section = sections[str(place[-1])] if place else RunConfig
    return [name for name, field in section.model_fields.items() if not field.exclude]
