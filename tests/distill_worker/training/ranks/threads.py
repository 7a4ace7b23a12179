"""Ranks that are threads of the test's own process: the real methods, over an exchange without a network."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any, TypeVar

import torch
from torch import Tensor

from distill_worker.training.ranks.group import Ranks
from tests.endurance import HANG_SECONDS

Value = TypeVar("Value")


@dataclass
class _Exchange:
    size: int
    values: list[Any] = field(init=False)
    barrier: Barrier = field(init=False)

    def __post_init__(self) -> None:
        self.values = [None] * self.size
        self.barrier = Barrier(self.size, timeout=HANG_SECONDS)


@dataclass(frozen=True)
class ThreadRanks(Ranks):
    """One thread's view of them."""

    exchange: _Exchange = field(default_factory=lambda: _Exchange(1))

    def gathered(self, value: Value) -> list[Value]:
        """The values of all threads."""
        self.exchange.values[self.rank] = value
        self.exchange.barrier.wait()
        values = list(self.exchange.values)
        self.exchange.barrier.wait()
        return values

    def sum(self, values: Tensor) -> Tensor:
        """The sum, in place."""
        return values.copy_(torch.stack(self.gathered(values.clone())).sum(dim=0))

    def copy_first(self, values: Tensor) -> Tensor:
        """Rank 0's, in place."""
        return values.copy_(self.gathered(values.clone())[0])

    def from_first(self, make: Callable[[], Value]) -> Value:
        """Made by rank 0 alone."""
        made: list[Any] = self.gathered(make() if self.is_first else None)
        value: Value = made[0]
        return value


def on_ranks(size: int, work: Callable[[Ranks], Value]) -> list[Value]:
    """What `work` returns on each of so many ranks. If one fails, the others end too, and the failure is raised."""
    exchange = _Exchange(size)

    def one(rank: int) -> Value:
        try:
            return work(ThreadRanks(rank, size, exchange))
        except BaseException:
            exchange.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return [future.result() for future in [pool.submit(one, rank) for rank in range(size)]]


def torchrun(size: int) -> dict[str, str]:
    """What torchrun puts into the environment of the first of so many ranks, as far as it says how it started it."""
    first = {"LOCAL_RANK": "0", "TORCHELASTIC_RESTART_COUNT": "0"}
    return {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": str(size), **first}
