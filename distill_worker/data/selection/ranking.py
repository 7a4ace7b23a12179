"""The order in which samples are considered: random, and the same for ever.

Samples are ranked by SHA-256 over the seed and the sample key. The order therefore depends on no random generator,
no order of files and no library version, and the n smallest ranks are a subset of the n + 1 smallest: a larger
n later buys the difference alone.
"""

from collections.abc import Sequence
from hashlib import sha256

from distill_worker.errors import ConfigError


def rank(keys: Sequence[bytes], seed: int) -> list[int]:
    """Indices of the samples with distinct keys (the first of equals), in hash order."""
    first: dict[bytes, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    head = f"random:{seed}:".encode()
    return [first[key] for key in sorted(first, key=lambda key: sha256(head + key).digest())]


def divide(ranked: Sequence[int], n: int | None, validation_share: float) -> tuple[list[int], list[int]]:
    """The first `n` of the ranked samples, and the next ones for validation, each in ascending order.

    Validation samples are `validation_share` of both together. Without `n`, all samples are divided so.

    Raises:
        ConfigError: there are too few samples.
    """
    n, validation = shares(len(ranked), n, validation_share)
    return sorted(ranked[:n]), sorted(ranked[n : n + validation])


def set_apart(ranked: Sequence[int], n: int | None, validation_share: float) -> tuple[list[int], list[int]]:
    """The ranked samples for a strategy to select from, in their order, and those for validation, ascending.

    Validation samples are as many as in `divide`, and the last of the ranking: drawn at random before anything is
    selected, so that they represent the data set and not the selection.

    Raises:
        ConfigError: there are too few samples.
    """
    _, validation = shares(len(ranked), n, validation_share)
    left = len(ranked) - validation
    return list(ranked[:left]), sorted(ranked[left:])


def shares(count: int, n: int | None, validation_share: float) -> tuple[int, int]:
    """How many of `count` distinct samples are bought, and how many are for validation.

    Raises:
        ConfigError: there are too few samples.
    """
    if n is None:
        n = count - round(count * validation_share)
    validation = round(n * validation_share / (1 - validation_share))
    if n + validation > count:
        beside = f" besides {validation} for validation" if validation else ""
        raise ConfigError(f"budget.n: expected at most {count}, the distinct samples of the data set, got {n}{beside}")
    return n, validation
