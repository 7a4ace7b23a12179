"""The result of a reconciliation: findings, the meaning of each, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Finding = Literal[
    "held",
    "refused",
    "waiting",
    "answering",
    "unfetched",
    "unread",
    "unread, free",
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
    "held": "charged by the teacher, and in the cache",
    "refused": "closed without outputs, and not charged",
    "waiting": "begun, not charged: fetch sends it again",
    "answering": "in flight at the teacher: reconcile again in a minute",
    "unfetched": "charged, but the answer is not in the cache: run fetch, which repeats it for free",
    "unread": "charged, and the answer is kept, but cannot be read: see the reason with `distill-worker plan`",
    "unread, free": "answered by something that cannot be read, but not charged: give it up with `fetch --abandon all`",
    "uncertain": "begun; a counter does not show whether it was charged: run fetch, then reconcile again",
    "imported": "charged for another cache, from which its outputs were imported",
    "elsewhere": "charged, but not for this cache: for another one, for a lost one, or for another user of the API "
    "key; if that is intended, pass --shared-key, otherwise rotate the API key",
    "unlogged": "in the cache, but not charged: report it to the teacher's operator, whose log is incomplete",
    "differs": "charged, but the log and the cache differ: report it to the teacher's operator before training on it",
    "given up": "charged, but given up by `fetch --abandon`: paid in vain",
    "twice": "bought again, although all of it was paid before: paid in vain, unless the cache was damaged between",
    "charged twice": "charged again under the same Idempotency-Key: request a refund from the teacher's operator",
    "counter": "the teacher's counter and its log disagree: report it to its operator (`teacher-service log verify`)",
}
"""Each finding, and what to do about it."""
_PAID_AGAIN: Final = "charged, the answer lost; repeating it would be charged again, so fetch does not repeat it"
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
    """The teacher's id of the query."""
    detail: str = ""


@dataclass(frozen=True)
class Reconciliation:
    """The result of a comparison."""

    rows: tuple[Row, ...]
    charged: int
    """Samples, according to the teacher."""
    by: Literal["log", "counter"]
    shared_key: bool = False
    """Whether others use the account, so that `elsewhere` is no difference."""
    repeats_are_free: bool = True

    @property
    def differences(self) -> tuple[Row, ...]:
        """The rows that disagree; all others agree, or will agree after fetch has run."""
        counted = _DIFFERENCES - {"elsewhere"} if self.shared_key else _DIFFERENCES
        return tuple(row for row in self.rows if row.finding in counted)

    def samples(self, finding: Finding) -> int:
        """Samples of all rows of a finding."""
        return sum(row.samples for row in self.rows if row.finding == finding)

    def meaning(self, finding: Finding) -> str:
        """The meaning of a finding, and what to do about it."""
        return _PAID_AGAIN if finding == "unfetched" and not self.repeats_are_free else MEANINGS[finding]

    def table(self) -> list[tuple[str, str, str, str]]:
        """Finding, requests, samples and meaning, for each finding with rows."""
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
        """The result as a JSON-able dictionary; of agreeing rows, the sums alone."""
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
