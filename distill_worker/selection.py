"""Which samples to buy: a random subset that grows without forgetting.

Samples are ranked by SHA-256 over the seed and the sample key. The choice therefore depends on no random generator,
no order of files and no library version, and the n smallest ranks are a subset of the n + 1 smallest: asking for more
later buys the difference alone.
"""

from collections.abc import Sequence
from hashlib import sha256

from distill_worker.errors import ConfigError


def select(keys: Sequence[bytes], n: int | None, seed: int) -> list[int]:
    """Indices of `n` samples with distinct keys, in ascending order; every distinct sample when `n` is None.

    Raises:
        ConfigError: there are fewer than n distinct samples.
    """
    first: dict[bytes, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    if n is None:
        return sorted(first.values())
    if n > len(first):
        raise ConfigError(f"budget.n: expected at most {len(first)}, the distinct samples of the data set, got {n}")
    head = f"random:{seed}:".encode()
    ranked = sorted(first, key=lambda key: sha256(head + key).digest())
    return sorted(first[key] for key in ranked[:n])
