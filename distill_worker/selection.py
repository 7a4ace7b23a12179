"""Which samples to buy: a random subset that grows without forgetting.

Samples are ranked by SHA-256 over the seed and the sample key. The choice therefore depends on no random generator,
no order of files and no library version, and the n smallest ranks are a subset of the n + 1 smallest: asking for more
later buys the difference alone.
"""

from collections.abc import Sequence
from hashlib import sha256

from distill_worker.errors import ConfigError


def rank(keys: Sequence[bytes], seed: int) -> list[int]:
    """Indices of the samples with distinct keys (the first of equals), in the order in which they are chosen."""
    first: dict[bytes, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    head = f"random:{seed}:".encode()
    return [first[key] for key in sorted(first, key=lambda key: sha256(head + key).digest())]


def divide(ranked: Sequence[int], n: int | None, validation_share: float) -> tuple[list[int], list[int]]:
    """The first `n` of the ranked samples, and the next ones for validation, each in ascending order.

    Validation samples are `validation_share` of both together. Without `n`, all samples are divided so.

    Raises:
        ConfigError: there are too few.
    """
    if n is None:
        n = len(ranked) - round(len(ranked) * validation_share)
    validation = round(n * validation_share / (1 - validation_share))
    if n + validation > len(ranked):
        beside = f" besides {validation} for validation" if validation else ""
        raise ConfigError(
            f"budget.n: expected at most {len(ranked)}, the distinct samples of the data set, got {n}{beside}"
        )
    return sorted(ranked[:n]), sorted(ranked[n : n + validation])
