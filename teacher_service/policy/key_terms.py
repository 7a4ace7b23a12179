"""On what terms a key is given: whose it is, what it may see, how fast it may ask, and until when."""

from dataclasses import dataclass
from typing import Any, Final, TypedDict

from teacher_service.policy.output_policy import LOGITS_ALONE, OutputPolicy


@dataclass(frozen=True)
class KeyTerms:
    """All but the quota; a limit that is None does not apply."""

    holder: str = ""
    """Whose key it is. One holder's keys have nothing in common: no quota, no limit, no Idempotency-Key."""
    outputs: OutputPolicy = LOGITS_ALONE
    expires_at: float | None = None
    """From when on it is refused, in seconds since the epoch."""
    requests_per_minute: int | None = None
    samples_per_minute: int | None = None
    max_concurrent: int | None = None
    """Requests that may be answered at the same time."""

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of `api_keys` that say so."""
        return {**vars(self), "outputs": str(self.outputs)}


class NamedTerms(TypedDict, total=False):
    """Some of a key's terms, by the names that `KeyTerms` has for them."""

    holder: str
    outputs: OutputPolicy
    expires_at: float | None
    requests_per_minute: int | None
    samples_per_minute: int | None
    max_concurrent: int | None


PLAIN: Final = KeyTerms()
"""Logits, for ever, as fast as the model goes."""
