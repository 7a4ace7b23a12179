"""Who a run is: the values that its result depends on, and whether files that were written earlier hold the same run.

A setting that stored values lack, because it was added after they were written, counts as its default. Stored values
hold every setting, defaults too, so a run that was made under another default is another run. Two exceptions: earlier
versions left defaults of `[budget]` out; these are filled in with the defaults of that time. And earlier versions
trained in float32, and stored the memory format under another name.

A precision or memory format that is `auto` differs from none: it stands for the one that the run began with.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from distill_worker.config.training_section import AUTO, with_memory_format

_MOST_DIFFERENCES: Final = 3
"""Differences that a message names."""
_DIGESTS: Final = {
    "samples": "the samples or their labels are others",
    "targets": "the teacher's outputs, or how they are read, have changed",
    "test_images": "the test images have changed",
    "test_labels": "the labels of the test images have changed",
    "validation": "the validation samples or their labels have changed",
    "pool": "the images or labels of the track's other training samples have changed",
    "network_source": "the code of student.network has changed",
    "outside_weights": "the weights file in self_training.assistant is another",
    "student_weights": "the weights in student.weights are others",
    "member_network_source": "the code of self_training.network has changed",
    "member_first_weights": "the first weights of self_training.network have changed",
    "first_weights": "the first weights of student.network have changed (its code, or a file that it reads)",
}
"""What a difference between two digests means, by the name of the fact."""
_BUDGET_BEFORE: Final = {"strategy": "random", "rounds": 1, "first": "random"}
"""The values that earlier versions left out of a stored `[budget]`. They stay, even if a default changes."""

_KEPT: Final = ("training.precision", "training.memory_format")
"""The settings that a run keeps where they are `auto`."""


def trained_before(training: Mapping[str, Any]) -> dict[str, Any]:
    """A stored `[training]` with its precision, which earlier versions left out, and its memory format."""
    return {"precision": "float32"} | with_memory_format(training)


@dataclass(frozen=True)
class RunIdentity:
    """The values that a run's result depends on; JSON-able."""

    values: Mapping[str, Any]
    """All of them: this is what is stored."""
    changed: Mapping[str, Any]
    """The values that stored values must hold: those that have no default, and those that differ from it."""

    def only(self, *names: str) -> "RunIdentity":
        """The identity of something that depends on these sections alone."""
        return RunIdentity(
            {name: self.values[name] for name in names},
            {name: self.changed[name] for name in names if name in self.changed},
        )

    def without(self, section: str, name: str) -> "RunIdentity":
        """This identity with one setting left open."""
        return RunIdentity(_without(self.values, section, name), _without(self.changed, section, name))

    def __or__(self, facts: Mapping[str, Any]) -> "RunIdentity":
        """This identity and facts beside the configuration, which have no default."""
        return RunIdentity({**self.values, **facts}, {**self.changed, **facts})

    def with_settings_of(self, other: "RunIdentity") -> "RunIdentity":
        """This identity with all values of another in place of its own."""
        kept = {name: value for name, value in self.changed.items() if name not in other.values}
        return RunIdentity({**self.values, **other.values}, {**kept, **other.changed})

    def with_later_facts(self, facts: Mapping[str, Any]) -> "RunIdentity":
        """This identity and facts that earlier versions did not store: where they are absent, they do not differ."""
        return RunIdentity({**self.values, **facts}, self.changed)

    def difference(self, stored: object, *, partial: bool = False) -> str | None:
        """The first settings in which stored values are another run's, with both values; None for the same run.

        Args:
            stored: the values that were stored.
            partial: whether this identity is not complete yet, so that it lacks some of the stored values.
        """
        if not isinstance(stored, Mapping):
            return "the stored identity cannot be read"
        stored = _with_training(_with_budget(stored, self.values), self.values)
        if partial:
            stored = _shared(stored, self.values)
        differences = list(_differences(stored, self.values, self.changed, ""))
        more = len(differences) - _MOST_DIFFERENCES
        return "; ".join(differences[:_MOST_DIFFERENCES]) + (f"; {more} more" if more > 0 else "") or None


def _without(values: Mapping[str, Any], section: str, name: str) -> Mapping[str, Any]:
    settings = values.get(section, {})
    return {**values, section: {other: value for other, value in settings.items() if other != name}}


def _shared(stored: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stored values that these values have, too, in each section."""
    return {
        name: _shared(old, values[name]) if isinstance(old, dict) and isinstance(values[name], dict) else old
        for name, old in stored.items()
        if name in values
    }


def _with_budget(stored: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stored values, with those that earlier versions left out of `[budget]`."""
    old, new = stored.get("budget"), values.get("budget")
    if not isinstance(old, dict) or not isinstance(new, dict):
        return stored
    left_out = {name: value for name, value in _BUDGET_BEFORE.items() if name in new}
    return {**stored, "budget": left_out | old}


def _with_training(stored: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stored values, with the precision and memory format of earlier versions."""
    old, new = stored.get("training"), values.get("training")
    if not isinstance(old, dict) or not isinstance(new, dict) or "precision" not in new:
        return stored
    return {**stored, "training": trained_before(old)}


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
        yield f"{within}{name}: {stored[name]!r} in the directory, {_absence(stored, values, within)}"
    for name in sorted((values.keys() & changed.keys()) - stored.keys()):
        yield f"{within}{name}: not set in the directory, {values[name]!r} now"


def _absence(stored: Mapping[str, Any], values: Mapping[str, Any], within: str) -> str:
    """Why there is no value now. A section holds all its settings, unless it is that of another method."""
    if not within:
        return "not set now, or unknown to this version"
    return "unknown to this version" if stored.get("name") == values.get("name") else "not set now"


def _difference(old: Any, new: Any, changed: Any, where: str) -> Iterator[str]:
    if where in _KEPT and new == AUTO:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _differences(old, new, changed, f"{where}.")
    elif old != new and where in _DIGESTS:
        yield f"{_DIGESTS[where]}: digest {old} in the directory, {new} now"
    elif old != new:
        yield f"{where}: {old!r} in the directory, {new!r} now"
