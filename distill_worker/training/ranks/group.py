"""The group of ranks: what they send each other, and how they end together.

Rank 0 writes, prints and evaluates, and decides everything that the steps of all ranks depend on. The others follow.

Invariants: every rank makes the same calls of a group in the same order. Of the errors that end a training, exactly one
is printed: that of the first rank that fails. The ranks that only lost it stay silent.
"""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous

from distill_worker.errors import ConfigError, RankLost, WorkerError
from distill_worker.training.ranks.launch import launch

_MOST_DIFFERENCES: Final = 3
"""Differences that a message names."""
_LONGEST_WAIT: Final = timedelta(days=1)
"""For rank 0, which may load data or evaluate for hours. If a rank ends, torchrun ends the others at once."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """The ranks of one training, as one of them sees them. Of a single one every method does the obvious, alone."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of the ranks' tensors, in place; the same bits on every rank.

        Raises:
            RankLost: another rank ended.
        """
        if self.size > 1:
            with _connection():
                dist.all_reduce(values)
        return values

    def copy_first(self, values: Tensor) -> Tensor:
        """The values of rank 0, in place. Raises `RankLost`."""
        if self.size > 1:
            with _connection():
                dist.broadcast(values, src=0)
        return values

    def from_first(self, make: Callable[[], Value]) -> Value:
        """What `make` returns on rank 0, the only one that calls it. Raises `RankLost`, and what `make` raises."""
        made = [make() if self.is_first else None]
        if self.size > 1:
            with _connection():
                dist.broadcast_object_list(made, src=0, device=torch.device("cpu"))
        return made[0]  # type: ignore[return-value]

    def gathered(self, value: Value) -> list[Value]:
        """The values of all ranks, in their order. Raises `RankLost`."""
        values = [value] * self.size
        if self.size > 1:
            with _connection():
                dist.all_gather_object(values, value)
        return values

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Do the block on rank 0, and then on the others. Raises `RankLost`."""
        if not self.is_first:
            self.from_first(lambda: None)
        yield
        if self.is_first:
            self.from_first(lambda: None)

    def check_alike(self, facts: Mapping[str, Any]) -> None:
        """Check that all ranks have the same facts, JSON-able.

        Raises:
            ConfigError: a rank has others than rank 0.
            RankLost: another rank ended.
        """
        first, *others = self.gathered(facts)
        for rank, own in enumerate(others, start=1):
            if differences := list(_differences(first, own, "")):
                more = len(differences) - _MOST_DIFFERENCES
                raise ConfigError(
                    f"rank {rank} of {self.size}: expected the run of rank 0, got another one: "
                    f"{', '.join(differences[:_MOST_DIFFERENCES])}{f' and {more} more' if more > 0 else ''} differ; "
                    "start every rank with the same configuration, options, data, cache and code"
                )


ALONE: Final = Ranks()
"""A process without others."""


@contextmanager
def opened() -> Iterator[Ranks]:
    """Join the ranks that torchrun started, until the end of the block; `ALONE` without torchrun.

    Raises:
        RankLost: another rank ended.
    """
    if (started := launch()) is None:
        yield ALONE
        return
    with _connection():
        all_attempts, rank, size = next(rendezvous("env://"))
        store = dist.PrefixStore(f"attempt {started.attempt}", all_attempts)  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=_LONGEST_WAIT, store=store, rank=rank, world_size=size)
    try:
        yield Ranks(rank, size)
    except BaseException as error:
        is_first_to_fail = _is_first_to_fail(store)
        if isinstance(error, WorkerError):
            if not is_first_to_fail:
                raise SystemExit(int(error.exit_status)) from error
            # torchrun ends this process when another one fails, perhaps before the error is printed.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    dist.destroy_process_group()


def _is_first_to_fail(store: Any) -> bool:
    try:
        return bool(store.add("failed", 1) == 1)
    except RuntimeError:  # torchrun itself ended
        return True


@contextmanager
def _connection() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankLost(
            "expected all ranks to train to the end, but another one ended, or the connection to it was lost "
            f"({' '.join(str(error).split())[:200]}); the same command goes on from the last checkpoint"
        ) from error


def _differences(first: object, other: object, within: str) -> Iterator[str]:
    """The names of the values in which two JSON-able objects differ, with dots between their levels."""
    if isinstance(first, Mapping) and isinstance(other, Mapping):
        for name in sorted(first.keys() | other.keys()):
            yield from _differences(first.get(name), other.get(name), f"{within}.{name}" if within else name)
    elif first != other:
        yield within
