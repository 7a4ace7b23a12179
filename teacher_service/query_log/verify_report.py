"""The result of a verification, and the head of the log that it verified."""

from dataclasses import dataclass, field
from typing import Final, Self

from teacher_service.ledger.hash_chain import GENESIS

MAX_PROBLEMS: Final = 20
"""Problems that are listed; the others are only counted."""


@dataclass(frozen=True)
class Head:
    """The last entry of a log. Noted elsewhere, it can later show whether anything before it was rewritten."""

    sequence: int = 0
    sha256: bytes = GENESIS

    def __str__(self) -> str:
        return f"{self.sequence}:{self.sha256.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """A head from the text that `str` gives.

        Raises:
            ValueError: the text is malformed.
        """
        sequence, _, digest = text.partition(":")
        if not (sequence.isascii() and sequence.isdigit() and len(digest) == 64):
            raise ValueError(f"expected SEQUENCE:HASH, as an earlier verification printed it, got {text!r}")
        return cls(int(sequence), bytes.fromhex(digest))


@dataclass
class Report:
    """The number of verified entries, and the problems in the ledger."""

    head: Head = Head()
    entries: int = 0
    problems: list[str] = field(default_factory=list)
    """The first `MAX_PROBLEMS`."""
    problem_count: int = 0

    def add(self, problem: str) -> None:
        """Count a problem, and list it if there is room."""
        self.problem_count += 1
        if self.problem_count <= MAX_PROBLEMS:
            self.problems.append(problem)
