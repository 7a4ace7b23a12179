"""From the cache to one tensor, aligned with the samples."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from distill_worker.cache import Cache
from distill_worker.errors import CacheError, WorkerError


def find_teacher(cache: Cache, keys: Sequence[bytes], teacher_id: str | None) -> tuple[str, int]:
    """The teacher that all of these samples' outputs were bought from, and its stream; asks no network.

    Raises:
        WorkerError: no teacher's outputs are complete, or several are and `teacher_id` does not choose.
    """
    streams = cache.streams("logits")
    complete = [known for known, stream_id in streams.items() if not cache.missing(stream_id, keys)]
    if teacher_id is not None:
        complete = [known for known in complete if known == teacher_id]
    if len(complete) > 1:
        raise WorkerError(f"the cache holds these outputs of several teachers; choose one: --teacher-id {complete}")
    if not complete:
        whose = f"of teacher {teacher_id}" if teacher_id else "of any teacher"
        raise WorkerError(
            f"the cache does not hold all {len(keys)} outputs {whose} (known: {', '.join(streams) or 'none'}); buy "
            "them: distill-worker fetch"
        )
    return complete[0], streams[complete[0]]


def load_targets(cache: Cache, stream_id: int, keys: Sequence[bytes]) -> Tensor:
    """The bought outputs, float32 `[samples, values]`, row i for `keys[i]`.

    Raises:
        WorkerError: some are not held; the message says how many and how to buy them.
    """
    held = cache.outputs(stream_id, keys)
    absent = sum(key not in held for key in keys)
    if absent:
        raise WorkerError(
            f"{absent} of {len(keys)} teacher outputs are not in the cache; buy them: distill-worker fetch"
        )
    lengths = {len(held[key]) for key in keys}
    if len(lengths) > 1:
        raise CacheError(f"the cache is damaged: one teacher's outputs have {sorted(lengths)} values")
    return torch.from_numpy(np.stack([held[key] for key in keys]))
