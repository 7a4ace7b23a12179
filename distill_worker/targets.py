"""From the cache to tensors that are aligned with the samples."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from distill_worker.cache import Cache
from distill_worker.errors import CacheError, WorkerError


def find_teacher(
    cache: Cache, keys: Sequence[bytes], teacher_id: str | None, kinds: Sequence[str] = ("logits",)
) -> str:
    """The teacher that all of these samples' outputs, of all these kinds, were bought from; asks no network.

    Raises:
        WorkerError: no teacher's outputs are complete, or several are and `teacher_id` does not choose.
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
    if len(complete) > 1:
        raise WorkerError(f"the cache holds these outputs of several teachers; choose one: --teacher-id {complete}")
    if not complete:
        whose = f"of teacher {teacher_id}" if teacher_id else "of any teacher"
        raise WorkerError(
            f"the cache does not hold all {len(set(keys))} outputs ({', '.join(kinds)}) {whose} (known: "
            f"{', '.join(known) or 'none'}); buy them: distill-worker fetch"
        )
    return complete[0]


def load_targets(
    cache: Cache, teacher_id: str, keys: Sequence[bytes], kinds: Sequence[str] = ("logits",)
) -> dict[str, Tensor]:
    """The bought outputs by kind, float32 `[samples, ...]`, row i for `keys[i]`.

    Raises:
        WorkerError: some are not held; the message says how many and how to buy them.
    """
    return {kind: _load(cache, cache.stream(teacher_id, kind), keys) for kind in kinds}


def _load(cache: Cache, stream_id: int, keys: Sequence[bytes]) -> Tensor:
    held = cache.outputs(stream_id, keys)
    absent = sum(key not in held for key in keys)
    if absent:
        raise WorkerError(
            f"{absent} of {len(keys)} teacher outputs are not in the cache; buy them: distill-worker fetch"
        )
    lengths = {len(held[key]) for key in keys}
    shape = cache.shape(stream_id) or (*lengths,)
    if lengths != {int(np.prod(shape))}:
        raise CacheError(f"the cache is damaged: one teacher's outputs have {sorted(lengths)} values")
    return torch.from_numpy(np.stack([held[key] for key in keys]).reshape(len(keys), *shape))
