"""What an audit finds, and the head that is to be noted."""

from dataclasses import dataclass, field
from typing import Final, Self

from teacher_service.ledger.hash_chain import GENESIS

MOST_TOLD: Final = 20
"""Problems that are told; the others are counted."""


@dataclass(frozen=True)
class Head:
    """The last entry of a log: whoever keeps it can tell later that nothing up to there was rewritten."""

    sequence: int = 0
    sha256: bytes = GENESIS

    def __str__(self) -> str:
        return f"{self.sequence}:{self.sha256.hex()}"

    @classmethod
    def parse(cls, said: str) -> Self:
        """Read what `str` says.

        Raises:
            ValueError: it is something else.
        """
        sequence, _, digest = said.partition(":")
        if not (sequence.isascii() and sequence.isdigit() and len(digest) == 64):
            raise ValueError(f"expected SEQUENCE:HASH, as an earlier verification printed it, got {said!r}")
        return cls(int(sequence), bytes.fromhex(digest))


@dataclass
class Report:
    """What was looked at, and what is wrong with it."""

    head: Head = Head()
    entries: int = 0
    problems: list[str] = field(default_factory=list)
    """The first `MOST_TOLD` of them."""
    problem_count: int = 0

    def tell(self, problem: str) -> None:
        """Count a problem."""
        self.problem_count += 1
        if self.problem_count <= MOST_TOLD:
            self.problems.append(problem)
