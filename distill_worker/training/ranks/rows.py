"""The rows of a batch: each rank passes its own through the network, and sees the outputs of all.

Every rank draws the whole batch and computes the whole objective, so that comparisons between samples, and memories of
them, are those of one process. The gradient of the loss flows into a rank's own rows alone; see `network.py`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_worker.errors import ConfigError
from distill_worker.training.ranks.group import Ranks


def check_rows(ranks: Ranks, batch: int) -> None:
    """Check that each rank has a row of a batch.

    Raises:
        ConfigError: there are more ranks than rows.
    """
    if batch < ranks.size:
        raise ConfigError(
            f"training.batch_size: expected batches of at least {ranks.size} samples, one for each rank, got {batch}; "
            "start fewer ranks, or use larger batches or more samples"
        )


def own_rows(ranks: Ranks, rows: Tensor) -> Tensor:
    """This rank's rows of the batch; the numbers of rows differ by one at most."""
    return rows[slice(*_bounds(ranks, len(rows)))]


def whole_rows(ranks: Ranks, own: Tensor, batch: int) -> Tensor:
    """The rows of all ranks, `[batch, ...]`, of which this rank's carry gradient. Raises `RankLost`."""
    if ranks.size == 1:
        return own
    start, stop = _bounds(ranks, batch)
    rows = own.new_zeros((batch, *own.shape[1:]))
    rows[start:stop] = own.detach()
    ranks.sum(rows)
    return torch.cat([rows[:start], own, rows[stop:]])


def whole_parts(ranks: Ranks, own: Tensor, batches: Sequence[int]) -> list[Tensor]:
    """The rows of several batches that went through the network one behind the other; as `whole_rows`."""
    sizes = [stop - start for start, stop in (_bounds(ranks, batch) for batch in batches)]
    return [whole_rows(ranks, part, batch) for part, batch in zip(torch.split(own, sizes), batches, strict=True)]


def _bounds(ranks: Ranks, batch: int) -> tuple[int, int]:
    return batch * ranks.rank // ranks.size, batch * (ranks.rank + 1) // ranks.size
