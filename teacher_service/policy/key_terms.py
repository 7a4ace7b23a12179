"""The terms of a key: its holder, the outputs that it may request, its rate limits, and when it expires.

The terms are listed once, as the fields of `KeyTerms`; the schemas of the admin API and the options of the command line
are derived from them. To add a term, add a field, its column of `api_keys` (`database/schema.py`), and a migration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self, get_type_hints

from teacher_service.policy.output_policy import LOGITS_ALONE, OutputPolicy
from teacher_service.policy.rate_limit import MAX_PER_MINUTE

TermChanges = Mapping[str, Any]
"""New values of some terms, by the names of the fields of `KeyTerms`."""

_MAX_CONCURRENT: Final = 10**6


@dataclass(frozen=True)
class Term:
    """How an operator writes a term."""

    kind: Literal["text", "outputs", "time", "limit"]
    """Text without control characters; an output policy; a time to come, or None; a whole number from 1, or None."""
    help: str
    """The help text of the option."""
    option: str = ""
    """The name of the option, where it is not that of the field."""
    most: int = 0
    """The largest value of a limit."""


@dataclass(frozen=True)
class KeyTerms:
    """All terms of a key but its quota; a limit that is None does not apply."""

    holder: Annotated[str, Term("text", "Person or team that holds the key.")] = ""
    """Who uses the key. The keys of one holder share nothing: no quota, no limit, no Idempotency-Key."""
    outputs: Annotated[
        OutputPolicy,
        Term(
            "outputs",
            "Outputs that the key may see, separated by commas: logits, log_probabilities, probabilities[:digits], "
            "top_k:k[:digits], label, features[.layer]. Example: probabilities:3,top_k:5,label. A new key sees logits.",
        ),
    ] = LOGITS_ALONE
    expires_at: Annotated[
        float | None,
        Term(
            "time", "Time when the key expires: 30d, 12h or 90m from now, an ISO 8601 date, or never.", option="expires"
        ),
    ] = None
    """From then on the key is rejected, in seconds since the epoch."""
    requests_per_minute: Annotated[
        int | None,
        Term("limit", "Maximum requests a minute, or none for no limit.", most=MAX_PER_MINUTE),
    ] = None
    samples_per_minute: Annotated[
        int | None,
        Term("limit", "Maximum samples a minute, or none for no limit.", most=MAX_PER_MINUTE),
    ] = None
    max_concurrent: Annotated[
        int | None,
        Term(
            "limit",
            "Maximum requests in flight, or none for no limit.",
            most=_MAX_CONCURRENT,
        ),
    ] = None
    """Requests of the key that may be in flight at the same time."""

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """The terms in a row of `api_keys`, which has a column for each."""
        stored = {name: getattr(row, name) for name in TERMS}
        return cls(**stored | {"outputs": OutputPolicy.parse(row.outputs)})

    @property
    def columns(self) -> dict[str, Any]:
        """The terms as columns of `api_keys`."""
        return {**vars(self), "outputs": str(self.outputs)}


TERMS: Final[Mapping[str, Term]] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(KeyTerms, include_extras=True).items()
}
"""Each term by the name of its field."""

DEFAULT_TERMS: Final = KeyTerms()
"""Logits alone; no limit, and no end."""


def changed_columns(changes: TermChanges) -> dict[str, Any]:
    """The columns of `api_keys` that these changes set.

    Raises:
        TypeError: a name is not that of a term.
    """
    columns = KeyTerms(**changes).columns
    return {name: columns[name] for name in changes}
