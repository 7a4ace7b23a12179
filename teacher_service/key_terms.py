"""On what terms a key is given: whose it is, what it may see, how fast it may ask, and until when."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class KeyTerms:
    """All but the quota; a limit that is None does not apply."""

    holder: str = ""
    """Whose key it is. One holder's keys have nothing in common: no quota, no limit, no Idempotency-Key."""
    outputs: str = "logits"
    """What the key may see, as `OutputPolicy` reads it."""
    expires_at: float | None = None
    """From when on it is refused, in seconds since the epoch."""
    requests_per_minute: int | None = None
    samples_per_minute: int | None = None
    max_concurrent: int | None = None
    """Requests that may be answered at the same time."""


PLAIN: Final = KeyTerms()
"""Logits, for ever, as fast as the model goes."""
