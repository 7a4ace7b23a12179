"""What comes of comparing the cache with the teacher's books: findings, what each means, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Finding = Literal[
    "held",
    "refused",
    "waiting",
    "answering",
    "unfetched",
    "uncertain",
    "imported",
    "elsewhere",
    "unlogged",
    "differs",
    "given up",
    "twice",
    "charged twice",
    "counter",
]
MEANINGS: Final[Mapping[Finding, str]] = {
    "held": "charged there and held here",
    "refused": "closed without outputs here, and not charged there",
    "waiting": "begun here, not charged there: fetch sends it again",
    "answering": "being answered by the teacher just now: reconcile again in a minute",
    "unfetched": "charged there, the answer not held here: run fetch, which repeats it for nothing",
    "uncertain": "begun here; a counter does not tell whether it was charged: run fetch, then reconcile again",
    "imported": "charged there for another cache, from which outputs of it were imported here",
    "elsewhere": "charged there, and not from this cache: from another, from a lost one, or by another user of the API "
    "key; if that is as it should be, pass --shared-key, else rotate the API key",
    "unlogged": "held here, and not charged there: tell the teacher's operator, whose books are incomplete",
    "differs": "charged there, but not as what was bought here: tell the teacher's operator before you train on it",
    "given up": "charged there, given up here by `fetch --abandon`: paid in vain",
    "twice": "bought again, though all of it had been paid before: paid in vain, unless the cache was damaged between",
    "charged twice": "charged again under the same Idempotency-Key: ask the teacher's operator for the calls",
    "counter": "the teacher's counter and its log disagree: tell its operator (`teacher-service log verify`)",
}
"""Each finding, and what to do about it."""
_PAID_AGAIN: Final = "charged there, the answer lost; repeating it would be charged again, so fetch leaves it alone"
_DIFFERENCES: Final[frozenset[Finding]] = frozenset(
    {"elsewhere", "unlogged", "differs", "given up", "twice", "charged twice", "counter"}
)
_AGREEING: Final[frozenset[Finding]] = frozenset({"held", "refused", "imported"})


@dataclass(frozen=True)
class Row:
    """One purchase, one query, or both."""

    finding: Finding
    samples: int
    idempotency_key: str | None = None
    query_id: str | None = None
    """What the teacher calls it."""
    detail: str = ""


@dataclass(frozen=True)
class Reconciliation:
    """All that was compared."""

    rows: tuple[Row, ...]
    charged: int
    """Samples, as the teacher says."""
    by: Literal["log", "counter"]
    shared_key: bool = False
    """Whether others use the account, so that what is `elsewhere` is no difference."""
    repeats_are_free: bool = True

    @property
    def differences(self) -> tuple[Row, ...]:
        """What contradicts; everything else agrees, or will once fetch has run."""
        counted = _DIFFERENCES - {"elsewhere"} if self.shared_key else _DIFFERENCES
        return tuple(row for row in self.rows if row.finding in counted)

    def samples(self, finding: Finding) -> int:
        """Samples of all rows of a finding."""
        return sum(row.samples for row in self.rows if row.finding == finding)

    def meaning(self, finding: Finding) -> str:
        """What it means, and what to do about it."""
        return _PAID_AGAIN if finding == "unfetched" and not self.repeats_are_free else MEANINGS[finding]

    def table(self) -> list[tuple[str, str, str, str]]:
        """Finding, requests, samples and meaning, of each finding that there is."""
        return [
            (
                finding,
                str(sum(row.finding == finding for row in self.rows)),
                str(self.samples(finding)),
                self.meaning(finding),
            )
            for finding in MEANINGS
            if any(row.finding == finding for row in self.rows)
        ]

    def facts(self) -> dict[str, Any]:
        """All of it, as JSON says it; of what agrees, the sums alone."""
        return {
            "by": self.by,
            "shared_key": self.shared_key,
            "charged": self.charged,
            "held": self.samples("held"),
            "differences": len(self.differences),
            "findings": {
                finding: {"requests": int(requests), "samples": int(samples), "meaning": meaning}
                for finding, requests, samples, meaning in self.table()
            },
            "rows": [vars(row) for row in self.rows if row.finding not in _AGREEING],
        }
