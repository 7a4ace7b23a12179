"""Classes by name: the place of each class of a data set among the classes of a network.

Names are compared exactly. A list that is the numbers 0, 1, 2, ... in this order names no class, only its place. It is
compared with another list of the same numbers alone; so are the classes of a data set that has no names for them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from distill_worker.errors import ConfigError

_MOST_NAMES: Final = 10
"""Names that a message lists."""


def class_order(
    data_names: Sequence[str],
    network_names: Sequence[str] | None,
    *,
    network: str,
    remedy: str,
    is_named: bool = True,
    renamed: Mapping[str, str] | None = None,
) -> tuple[int, ...] | None:
    """For each class of the data set, its place among the network's classes; None if both have the same order.

    Args:
        data_names: of the data set's classes.
        network_names: of the network's classes; None if they are not stated, so that there is nothing to compare.
        network: what the network is called in messages, for example "the teacher".
        remedy: the end of the message on other names.
        is_named: whether the data set names its classes; otherwise `data_names` are numbers.
        renamed: where the names of a class differ, the network's by the data set's.

    Raises:
        ConfigError: the names differ, or `renamed` names a class that one of both does not have.
    """
    renamed = renamed or {}
    _check_renamed(renamed, data_names, network_names, network)
    if network_names is None:
        return None
    names = [renamed.get(name, name) for name in data_names]
    if names == list(network_names):
        return None
    if len(set(names)) == len(names) and set(names) == set(network_names) and len(names) == len(network_names):
        return tuple(map(list(network_names).index, names))
    if not renamed and len(names) == len(network_names) and not (is_named and _are_names(network_names)):
        return None
    raise ConfigError(f"data: {_difference(names, network_names, network)}; {remedy}")


def listed(names: Sequence[str]) -> str:
    """The names for a message: all of them, or the first and how many more."""
    more = len(names) - _MOST_NAMES
    return ", ".join(map(repr, names[:_MOST_NAMES])) + (f" and {more} more" if more > 0 else "")


def _are_names(names: Sequence[str]) -> bool:
    return list(names) != [str(place) for place in range(len(names))]


def _check_renamed(
    renamed: Mapping[str, str], data_names: Sequence[str], network_names: Sequence[str] | None, network: str
) -> None:
    if renamed and network_names is None:
        raise ConfigError(
            f"data.classes: expected no value, because {network} states no class names, got names for "
            f"{listed(list(renamed))}; list its classes in its own order in teacher.class_names"
        )
    for whose, names, all_names in (
        ("the data set", renamed.keys(), data_names),
        (network, renamed.values(), network_names or ()),
    ):
        if unknown := [name for name in names if name not in all_names]:
            raise ConfigError(
                f"data.classes: expected classes of {whose} ({listed(all_names)}), got {listed(unknown)}"
                f"{_suggestion(unknown, all_names)}"
            )


def _difference(names: Sequence[str], network_names: Sequence[str], network: str) -> str:
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        return f"expected a name of its own for each class, got {listed(repeated)} more than once in the data set"
    only_data = [name for name in names if name not in network_names]
    only_network = [name for name in network_names if name not in names]
    if max(len(names), len(network_names)) <= _MOST_NAMES:
        lists = f"expected the classes of {network}, {listed(network_names)}, got {listed(names)} in the data set"
    else:
        lists = (
            f"expected the {len(network_names)} classes of {network}, got {len(names)} in the data set; only in the "
            f"data set: {listed(only_data) or 'none'}; only in {network}: {listed(only_network) or 'none'}"
        )
    return lists + _suggestion(only_data, only_network)


def _suggestion(wrong: Sequence[str], possible: Iterable[str]) -> str:
    """Did you mean, for the first of the wrong names that is like a possible one; empty if none is."""
    plain = {_plain(name): name for name in possible}
    for name in wrong[:_MOST_NAMES]:
        if close := get_close_matches(_plain(name), plain, n=1):
            return f" (did you mean {plain[close[0]]!r} by {name!r}?)"
    return ""


def _plain(name: str) -> str:
    """A name without capitals and separators."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())
