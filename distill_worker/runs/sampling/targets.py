"""Load bought outputs from the cache as tensors that are aligned with the samples."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from distill_worker.buying.output_choice import with_logits_as
from distill_worker.cache import Cache
from distill_worker.config.run_config import RunConfig
from distill_worker.errors import CacheError, ConfigError, counted
from distill_worker.runs.classes import class_order
from distill_worker.runs.sampling.samples import Samples
from shared.output_kinds import AUTO, FEATURES, LOGITS, most_informative


class Bought(NamedTuple):
    """The bought outputs of a run's samples."""

    targets: Mapping[str, Tensor]
    """By kind, in the teacher's order of classes: one row for each of `samples.keys`."""
    teacher_id: str | None
    """The teacher that they were bought from; None if no method needs one."""
    class_order: tuple[int, ...] | None = None
    """For each class of the data, its place among the teacher's; None if both have the same order."""
    held_out: Mapping[str, Tensor] | None = None
    """As `targets`, of the samples that are held out; None if there are none."""


NOTHING_BOUGHT: Final = Bought({}, None)

_TRAIN_ON_HELD: Final = (
    "or train on those that are in the cache, in one round and without bought mixtures: distill-worker train --held"
)


def find_teacher(
    cache: Cache, keys: Sequence[bytes], teacher_id: str | None, kinds: Sequence[str] = ("logits",)
) -> str:
    """The teacher that all outputs of these samples and kinds were bought from; sends no request.

    Raises:
        CacheError: no teacher has all outputs in the cache.
        ConfigError: several have, and `teacher_id` is None.
    """
    streams = [cache.streams(kind) for kind in kinds]
    known = sorted({owner for of_kind in streams for owner in of_kind})
    complete = [
        owner
        for owner in known
        if all(owner in of_kind and not cache.missing(of_kind[owner], keys) for of_kind in streams)
    ]
    if teacher_id is not None:
        complete = [owner for owner in complete if owner == teacher_id]
    return _the_only(complete, cache, keys, teacher_id, kinds)


def find_bought(
    cache: Cache, keys: Sequence[bytes], teacher_id: str | None, kinds: Sequence[str], output: str = AUTO
) -> tuple[str, tuple[str, ...]]:
    """The teacher, as `find_teacher`, and the kinds, with `output` in place of `logits`.

    `auto` stands for the most informative distribution that is in the cache for all these samples.
    """
    if LOGITS not in kinds or output != AUTO:
        bought = with_logits_as(output, kinds) if LOGITS in kinds else tuple(kinds)
        return find_teacher(cache, keys, teacher_id, bought), bought
    known = cache.teachers()
    complete: dict[str, tuple[str, ...]] = {}
    for owner in known if teacher_id is None else [teacher_id]:
        held = cached_kinds(cache, owner, keys)
        best = most_informative(held)
        if best is not None and set(with_logits_as(best, kinds)) <= set(held):
            complete[owner] = with_logits_as(best, kinds)
    wanted = [f"{kind} or another distribution" if kind == LOGITS else kind for kind in kinds]
    owner = _the_only(list(complete), cache, keys, teacher_id, wanted)
    return owner, complete[owner]


def find_held(
    cache: Cache, keys: Sequence[bytes], teacher_id: str | None, kinds: Sequence[str], output: str = AUTO
) -> tuple[str, set[bytes]]:
    """The teacher that some of these samples were bought from, and the samples whose outputs are all in the cache.

    `auto` stands for the distribution that is in the cache for the most of these samples.

    Raises:
        CacheError: there are none.
        ConfigError: there are those of several teachers, and `teacher_id` is None.
    """
    known = cache.teachers()
    held = {owner: _most_held(cache, owner, keys, kinds, output) for owner in known if teacher_id in (None, owner)}
    owners = [owner for owner, samples in held.items() if samples]
    if len(owners) > 1:
        counts = ", ".join(f"{owner} ({counted(len(held[owner]), 'sample')})" for owner in owners)
        raise ConfigError(
            "expected one teacher whose outputs of these samples are in the cache, got several; choose one with "
            f"--teacher-id: {counts}"
        )
    if not owners:
        raise CacheError(
            f"expected outputs ({', '.join(kinds)}) {_whose(teacher_id)} in the cache, got none of "
            f"{counted(len(keys), 'sample')} (teachers in {cache.place}: {', '.join(known) or 'none'}). Buy some: "
            f"distill-worker fetch{_or_another(known, teacher_id)}"
        )
    return owners[0], held[owners[0]]


def cached_kinds(cache: Cache, teacher_id: str, keys: Sequence[bytes]) -> list[str]:
    """The kinds of a teacher's output that are in the cache for all of these samples."""
    streams = cache.kinds_of(teacher_id).items()
    return [kind for kind, stream_id in streams if cache.holdings(stream_id).has_all(keys)]


def load_bought(cache: Cache, config: RunConfig, samples: Samples, teacher_id: str, kinds: Sequence[str]) -> Bought:
    """The bought outputs of a run.

    Raises:
        ConfigError: the teacher's class names are not those of the data; CacheError: see `load_targets`.
    """
    order = class_order(config, samples.dataset, cache.class_names(teacher_id))
    held_out = None if samples.held_out is None else load_targets(cache, teacher_id, samples.held_out.keys, kinds)
    return Bought(load_targets(cache, teacher_id, samples.keys, kinds), teacher_id, order, held_out)


def load_targets(
    cache: Cache, teacher_id: str, keys: Sequence[bytes], kinds: Sequence[str] = ("logits",)
) -> dict[str, Tensor]:
    """The bought outputs by kind, float32 `[samples, ...]`, row i for `keys[i]`.

    Raises:
        CacheError: some are missing; the message says how many and how to buy them.
    """
    return {kind: _load(cache, cache.stream(teacher_id, kind), keys) for kind in kinds}


def _the_only(
    complete: Sequence[str], cache: Cache, keys: Sequence[bytes], teacher_id: str | None, kinds: Sequence[str]
) -> str:
    if len(complete) > 1:
        raise ConfigError(
            "expected one teacher whose outputs of these samples are all in the cache, got several; choose one "
            f"with --teacher-id: {', '.join(complete)}"
        )
    if not complete:
        known = cache.teachers()
        raise CacheError(
            f"expected all {len(set(keys))} outputs ({', '.join(kinds)}) {_whose(teacher_id)} in the cache, but some "
            f"are missing (teachers in {cache.place}: {', '.join(known) or 'none'}). Buy them: distill-worker fetch; "
            f"{_TRAIN_ON_HELD}{_or_another(known, teacher_id)}"
        )
    return complete[0]


def _whose(teacher_id: str | None) -> str:
    return f"of teacher {teacher_id}" if teacher_id else "of any teacher"


def _or_another(known: Sequence[str], teacher_id: str | None) -> str:
    is_there = teacher_id is not None and any(other != teacher_id for other in known)
    return "; or name another teacher that is in the cache with --teacher-id" if is_there else ""


def count_held(cache: Cache, keys: Sequence[bytes], kinds: Sequence[str], output: str) -> dict[str, int]:
    """How many of these samples have all their outputs in the cache, by teacher; without those that have none."""
    held = {owner: len(_most_held(cache, owner, keys, kinds, output)) for owner in cache.teachers()}
    return {owner: samples for owner, samples in held.items() if samples}


def _most_held(cache: Cache, owner: str, keys: Sequence[bytes], kinds: Sequence[str], output: str) -> set[bytes]:
    """The samples whose outputs of a teacher are all in the cache, with the distribution that gives the most."""
    streams = cache.kinds_of(owner)
    distributions = [kind for kind in streams if not kind.startswith(FEATURES)] if output == AUTO else [output]
    choices = [with_logits_as(kind, kinds) for kind in distributions] if LOGITS in kinds else [tuple(kinds)]
    held = [_held(cache, [streams[kind] for kind in choice], keys) for choice in choices if set(choice) <= set(streams)]
    return max(held, key=len, default=set())


def _held(cache: Cache, stream_ids: Sequence[int], keys: Sequence[bytes]) -> set[bytes]:
    held = [cache.holdings(stream_id) for stream_id in stream_ids]
    return {key for key in keys if all(key in rows for rows in held)}


def _load(cache: Cache, stream_id: int, keys: Sequence[bytes]) -> Tensor:
    try:
        return torch.from_numpy(cache.aligned(stream_id, keys))
    except KeyError:
        absent = len(cache.missing(stream_id, keys))
        raise CacheError(
            f"{absent} of {len(keys)} teacher outputs are not in the cache. Buy them: distill-worker fetch; "
            f"{_TRAIN_ON_HELD}"
        ) from None
