"""How torchrun started this process, by the environment that it sets. Nothing here imports torch."""

import os
from dataclasses import dataclass
from typing import Final

from distill_worker.errors import ConfigError

_STARTED_BY_TORCHRUN: Final = "TORCHELASTIC_RUN_ID"


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that torchrun started."""

    size: int
    """How many processes there are, on all machines."""
    local_rank: int
    """The number of this process on its machine, from 0: that of its GPU."""
    attempt: int
    """How often torchrun has started the processes again, after one failed (`--max-restarts`)."""


def launch() -> Launch | None:
    """The place of this process; None for a process that works alone, as one that torchrun started alone does."""
    if _STARTED_BY_TORCHRUN not in os.environ:  # a cluster's scheduler may set the others
        return None
    names = ("WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT")
    started = Launch(*(int(os.environ[name]) for name in names))
    return started if started.size > 1 else None


def check_alone(command: str) -> None:
    """Check that a command that several processes would repeat runs in one.

    Raises:
        ConfigError: torchrun started several.
    """
    if (started := launch()) is not None:
        raise ConfigError(
            f"{command}: expected one process, got {started.size} started by torchrun; nothing was spent. Only train "
            "runs on several ranks: buy the outputs first (distill-worker fetch), then train (torchrun "
            f"--nproc-per-node {started.size} -m distill_worker train)"
        )
