"""Who a run is: the values that its result depends on, and whether files that were written earlier hold the same run.

A setting that stored values lack, because it was added after they were written, counts as its default. Stored values
hold every setting, defaults too, so a run that was made under another default is another run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_MOST_DIFFERENCES: Final = 3
"""Differences that a message names."""


@dataclass(frozen=True)
class RunIdentity:
    """The values that a run's result depends on; JSON-able."""

    values: Mapping[str, Any]
    """All of them: this is what is stored."""
    changed: Mapping[str, Any]
    """Those that differ from their default, or have none: stored values must hold these."""

    @classmethod
    def without_defaults(cls, values: Mapping[str, Any]) -> "RunIdentity":
        """An identity of values that have no default."""
        return cls(values, values)

    def only(self, *names: str) -> "RunIdentity":
        """The identity of something that depends on these sections alone."""
        return RunIdentity(
            {name: self.values[name] for name in names},
            {name: self.changed[name] for name in names if name in self.changed},
        )

    def __or__(self, facts: Mapping[str, Any]) -> "RunIdentity":
        """This identity and facts beside the configuration, which have no default."""
        return RunIdentity({**self.values, **facts}, {**self.changed, **facts})

    def difference(self, stored: object) -> str | None:
        """The first settings in which stored values are another run's, with both values; None for the same run."""
        if not isinstance(stored, Mapping):
            return "the stored identity cannot be read"
        differences = list(_differences(stored, self.values, self.changed, ""))
        more = len(differences) - _MOST_DIFFERENCES
        return "; ".join(differences[:_MOST_DIFFERENCES]) + (f"; {more} more" if more > 0 else "") or None


def _differences(stored: Mapping[str, Any], values: Mapping[str, Any], changed: Any, within: str) -> Iterator[str]:
    for name in sorted(stored.keys() & values.keys()):
        old, new = stored[name], values[name]
        changes = changed.get(name, {})
        if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            for place, (old_entry, new_entry) in enumerate(zip(old, new, strict=True)):
                entry_changes = changes[place] if isinstance(changes, list) else {}
                yield from _difference(old_entry, new_entry, entry_changes, f"{within}{name}.{place}")
        else:
            yield from _difference(old, new, changes, f"{within}{name}")
    for name in sorted(stored.keys() - values.keys()):
        yield f"{within}{name}: {stored[name]!r} in the directory, not set now"
    for name in sorted((values.keys() & changed.keys()) - stored.keys()):
        yield f"{within}{name}: not set in the directory, {values[name]!r} now"


def _difference(old: Any, new: Any, changed: Any, where: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _differences(old, new, changed, f"{where}.")
    elif old != new:
        yield f"{where}: {old!r} in the directory, {new!r} now"
