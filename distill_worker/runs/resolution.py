"""What a run leaves open before it begins: the device, the precision, the memory format and the steps of its training,
and of images without labels what only the teacher says.

Nothing is measured, so a budget that is a time stays open until the training begins: see `tuning/pace.py`. A run that
began keeps its precision and memory format, and with a budget its steps, also on another machine.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import torch

from distill_worker.buying.known_teachers import load_description
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.config.run_identity import trained_before
from distill_worker.config.teacher_address import VendorAddress
from distill_worker.config.training_section import AUTO, Training
from distill_worker.data.datasets import Rules, has_files, resizes
from distill_worker.data.pictures.rules import FIRST
from distill_worker.data.selection import STRATEGIES
from distill_worker.errors import ConfigError
from distill_worker.runs.purchase import api_key, connect
from distill_worker.runs.tuning import pace
from distill_worker.teachers.base import Description
from distill_worker.teachers.http_sender import credential_of
from distill_worker.training.directory.run_directory import RunDirectory
from distill_worker.training.precision import (
    BFLOAT16,
    CONTIGUOUS,
    FLOAT32,
    automatic_format,
    automatic_precision,
    has_bfloat16,
)
from distill_worker.training.ranks.launch import launch

_CHOICES: Final = {
    name: tuple(choice for choice in get_args(Training.model_fields[name].annotation) if choice != AUTO)
    for name in ("precision", "memory_format")
}
"""The settings that a run keeps, and their values."""


SLOW_BFLOAT16: Final = "this device has no instructions for bfloat16: float32 is faster on it"
_SMALL: Final = "resnet8x4"
_LARGE: Final = "torchvision:resnet18"
_MOST_PIXELS_OF_SMALL: Final = 64
"""The networks of the papers are for small images: they keep their size in the first layers."""


def device_of(name: str) -> torch.device:
    """The device for a value of `training.device` on this machine; a rank's own. Raises `ConfigError`."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError('training.device: expected a CUDA device, got none; use "auto" or "cpu"')
    device = kind_of_device(name)
    if device.type == "cpu" or (started := launch()) is None:
        return device
    if started.local_rank >= (devices := torch.cuda.device_count()):
        raise ConfigError(
            f"training.device: expected a CUDA device for each rank of this machine, got {devices} for rank "
            f'{started.local_rank} of it; start fewer ranks (torchrun --nproc-per-node), or use "cpu"'
        )
    torch.cuda.set_device(started.local_rank)
    return torch.device("cuda", started.local_rank)


def kind_of_device(name: str) -> torch.device:
    """The device for a value of `training.device` on this machine, without its number; the CPU where CUDA is absent."""
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def resolved(config: RunConfig, *, fresh: bool = False) -> RunConfig:
    """The run with the precision, memory format and rules for pictures that it began with; or else those of this
    machine's device, and the newest rules.

    Args:
        config: the run.
        fresh: whether an earlier run in the directory makes way.
    """
    config = _with_rules(config, _first_rules(config, fresh=fresh))
    return _with_steps(_resolved(config, _began_with(config, fresh=fresh)), fresh=fresh)


def with_facts_of_teacher(
    config: RunConfig, say: Callable[[str], None] = lambda _: None, *, teacher_id: str | None = None, asks: bool = True
) -> RunConfig:
    """The run with what its teacher says where the data do not: the classes of images without labels, and their size.

    It comes from the configuration, from the cache, or from the teacher, which charges nothing for it.

    Args:
        config: the run.
        say: gets what the teacher's client has to say, as in `purchase.connect`.
        teacher_id: whose classes in the cache count; None for those of the only teacher that is there.
        asks: whether the teacher may be contacted.

    Raises:
        ConfigError: the classes are not known, or no network fits the images; TeacherError: see `purchase.connect`.
    """
    data = config.data
    needs_classes = data.takes_class_names and not data.class_names
    needs_size = data.image_size is None and (data.takes_class_names or config.student.network == AUTO)
    if not needs_classes and not (needs_size and resizes(data.name)):
        return with_network(config)
    facts = _stored_facts(config)
    if facts is None and asks:
        with connect(config, say) as (_, description):
            facts = _facts_in(config, description)
    if facts is None and (cached := _cached_class_names(config, teacher_id)) is not None:
        facts = _Facts(cached, None)
    if facts is None and needs_classes:
        raise ConfigError(
            "data.class_names: expected the teacher's classes, because the images have no labels, got none, and "
            "this command contacts no teacher; buy outputs with distill-worker fetch, or list the names of its classes"
        )
    names, size = facts or _Facts(data.class_names, data.image_size)
    taken = {"class_names": names if needs_classes else data.class_names, "image_size": data.image_size or size}
    return with_network(config.model_copy(update={"data": data.model_copy(update=taken)}))


class _Facts(NamedTuple):
    """What a teacher says of images."""

    class_names: tuple[str, ...]
    """In its order; numbers where they have no names."""
    image_size: tuple[int, int] | None
    """Height and width, if pictures are resized to one."""


def _stored_facts(config: RunConfig) -> _Facts | None:
    """What the teacher said when outputs were bought from this address with this API key."""
    with Cache(config.output.cache, if_absent="empty") as cache:
        stored = load_description(cache, config.resolved_teacher, credential_of(api_key()))
    return None if stored is None else _facts_in(config, stored[0])


def _cached_class_names(config: RunConfig, teacher_id: str | None) -> tuple[str, ...] | None:
    """The names that came with outputs of this teacher, or of the only one that is there, whatever its address."""
    with Cache(config.output.cache, if_absent="empty") as cache:
        owners = cache.teachers() if teacher_id is None else [teacher_id]
        return cache.class_names(owners[0]) if len(owners) == 1 else None


def _facts_in(config: RunConfig, description: Description) -> _Facts:
    address = config.teacher
    labels = address.labels if isinstance(address, VendorAddress) else {}
    label_of = {place: label for label, place in labels.items()}
    numbered = tuple(label_of.get(place, str(place)) for place in range(description.num_classes))
    stated = () if isinstance(address, VendorAddress) else address.class_names
    shape = description.image_shape if resizes(config.data.name) else None
    return _Facts(stated or description.class_names or numbered, None if shape is None else shape[1:])


def with_network(config: RunConfig) -> RunConfig:
    """The run with a network in place of `auto`. Raises `ConfigError` if the size of the images is not known."""
    if config.student.network != AUTO:
        return config
    size = config.student.image_size or config.data.image_size
    if size is None:
        raise ConfigError(
            "student.network: expected the name of a network, because neither data.image_size nor the teacher says how "
            "large the images are, got 'auto'; see docs/networks.md"
        )
    network = network_for(size)
    return config.model_copy(update={"student": config.student.model_copy(update={"network": network})})


def network_for(size: tuple[int, int]) -> str:
    """The network that `auto` stands for, for images of this height and width."""
    return _SMALL if max(size) <= _MOST_PIXELS_OF_SMALL else _LARGE


def resolved_alike(configs: Sequence[RunConfig], *, fresh: bool = False) -> list[RunConfig]:
    """Several runs that are compared: those that did not begin take what the first that began with their settings has.

    Args:
        configs: the runs.
        fresh: as in `resolved`.
    """
    rules = next((rules for config in configs if (rules := _first_rules(config, fresh=fresh)) is not None), None)
    configs = [_with_rules(config, rules) for config in configs]  # they share one data set
    began = [_began_with(config, fresh=fresh) for config in configs]
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for config, settings in zip(configs, began, strict=True):
        if settings:
            first.setdefault(_stated(config), settings)
    return [
        _with_steps(_resolved(config, settings or first.get(_stated(config), {})), fresh=fresh)
        for config, settings in zip(configs, began, strict=True)
    ]


def resolved_like(config: RunConfig, other: RunConfig) -> RunConfig:
    """The run with what it began with, or else what another, resolved run has."""
    training = other.training
    return _resolved(
        _with_rules(config, other.data.rules),
        _began_with(config, fresh=False) or {"precision": training.precision, "memory_format": training.memory_format},
    )


def is_slow(training: Training) -> bool:
    """Whether the device of a resolved run has no instructions for its precision."""
    return training.precision == BFLOAT16 and not has_bfloat16(kind_of_device(training.device))


def note_of(training: Training) -> str:
    """What the student of a resolved run trains in, in one line."""
    device = kind_of_device(training.device)
    compiled = ", compiled, which takes up to a minute, for the checks and for the training" if training.compile else ""
    remark = f"; {SLOW_BFLOAT16}" if is_slow(training) else ""
    return f"the student trains in {training.precision}, {training.memory_format}, on {device}{compiled}{remark}"


def _stated(config: RunConfig) -> tuple[str, str]:
    """The precision and the memory format of a run's configuration, either of which may be `auto`."""
    return config.training.precision, config.training.memory_format


def _resolved(config: RunConfig, began_with: Mapping[str, Any]) -> RunConfig:
    training = config.training
    device = kind_of_device(training.device)
    precision: str = training.precision
    memory_format: str = training.memory_format
    if precision == AUTO:
        precision = began_with.get("precision") or automatic_precision(device)
    if memory_format == AUTO:
        memory_format = began_with.get("memory_format") or _format_of_new(training, precision, device)
    settings = {"precision": precision, "memory_format": memory_format}
    return config.model_copy(update={"training": training.model_copy(update=settings)})


def _with_rules(config: RunConfig, rules: Rules | None) -> RunConfig:
    """A run that states no rules for pictures, with these."""
    if rules is None or config.data.rules is not None or not has_files(config.data.name):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"rules": rules})})


def _first_rules(config: RunConfig, *, fresh: bool) -> Rules | None:
    """The first rules, if the run began by them. Earlier versions had no others, and did not name them.

    None leaves the run to the newest ones. Whether outputs were bought by the first is then looked at in each command:
    a selection by the newest rules may be on disk before anything was checked.
    """
    for stored in _stored_identities(config, fresh=fresh):
        if isinstance(stored, dict):
            return FIRST if stored.get("picture_rules", FIRST) == FIRST else None
    return None


def _with_steps(config: RunConfig, *, fresh: bool) -> RunConfig:
    """A run whose budget is a number of steps, or that began: with the steps of a training in place of its budget."""
    if (budget := config.training.budget) is None:
        return config
    for stored in _stored_identities(config, fresh=fresh):
        training = stored.get("training") if isinstance(stored, dict) else None
        if isinstance(training, dict) and isinstance(steps := training.get("steps"), int):
            return pace.with_steps(config, steps)
    return pace.within_steps(config, budget) if isinstance(budget, int) else config


def _format_of_new(stated: Training, precision: str, device: torch.device) -> str:
    """The memory format of a run that begins. A stated float32 keeps that of earlier versions, and its bits."""
    return CONTIGUOUS if stated.precision == FLOAT32 else automatic_format(precision, device)


def _began_with(config: RunConfig, *, fresh: bool) -> Mapping[str, Any]:
    """The precision and memory format that this directory's run began with; without those that no run here can have."""
    for stored in _stored_identities(config, fresh=fresh):
        training = stored.get("training") if isinstance(stored, dict) else None
        if isinstance(training, dict):
            began = trained_before(training)
            return {name: began[name] for name, choices in _CHOICES.items() if began[name] in choices}
    return {}


def _stored_identities(config: RunConfig, *, fresh: bool) -> Iterator[object]:
    """The identity of the run in the directory, and that of its selections, which `fresh` leaves in place."""
    directory = config.output.directory
    if not fresh and RunDirectory(directory).has_progress():
        yield _json(directory / "run.json").get("identity")
    if config.budget.rounds > 1 or STRATEGIES[config.budget.strategy].is_computed:
        yield _json(directory / "rounds" / "0001.json").get("of")


def _json(path: Path) -> Mapping[str, Any]:
    """The content of a file; empty if it cannot be read, which whatever opens the directory reports."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
