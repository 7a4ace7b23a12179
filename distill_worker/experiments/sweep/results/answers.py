"""The answer of a sweep in words: how far each value of a column is from another, with its uncertainty.

Values are compared seed by seed, with everything else equal. A difference counts as significant if its p-value is below
5 % after Holm's correction over all sentences of the answer. The tables of a point correct over the rows at one n.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from distill_worker.errors import counted
from distill_worker.experiments.results.paired_tests import Paired, against_baseline, holm, p_value_text
from distill_worker.experiments.sweep.sweep_section import POINT

_LEVEL: Final = 0.05

METHOD: Final = "method"
"""The column of the rows' labels."""
_N: Final = "n"


class _Compared(NamedTuple):
    where: str
    value: str
    base: str
    test: Paired


def answers(
    rows: Sequence[Mapping[str, Any]], axes: Sequence[str], columns: Sequence[str], bases: Mapping[str, str]
) -> list[str]:
    """One sentence for each value of the columns that is compared, and a last one that counts them.

    Args:
        rows: the tidy table.
        axes: its columns that are axes of the grid.
        columns: the axes, `method` or `n`, whose values are compared.
        bases: the value that the others are compared with, by column; by default the first one.
    """
    compared = [one for column in columns for one in _compared(rows, [*axes, METHOD, _N], column, bases.get(column))]
    if not compared:
        return []
    corrected = holm({str(place): one.test.p_value for place, one in enumerate(compared)})
    p_values = [corrected[str(place)] for place in range(len(compared))]
    significant = sum(p < _LEVEL for p in p_values)
    return [
        *(_sentence(one, p) for one, p in zip(compared, p_values, strict=True)),
        f"{significant} of {counted(len(compared), 'difference')} are significant (below {_LEVEL:.0%} after Holm's "
        "correction over all differences).",
    ]


def _compared(
    rows: Sequence[Mapping[str, Any]], dimensions: Sequence[str], column: str, base: str | None
) -> Iterator[_Compared]:
    """Each value of a column against the base, on the seeds that both have, where everything else is equal.

    Points may share a student, such as one without a teacher: it is not compared with itself.
    """
    others = [name for name in dimensions if name != column]
    groups: dict[tuple[Any, ...], dict[str, dict[int, Mapping[str, Any]]]] = {}
    for row in rows:
        values = groups.setdefault(tuple(row[name] for name in others), {})
        values.setdefault(str(row[column]), {})[row["seed"]] = row
    for place, values in groups.items():
        against = next(iter(values)) if base is None else base
        where = ", ".join(_named(name, part) for name, part in zip(others, place, strict=True))
        for value, own in values.items():
            if against in values and (test := _tested(own, values[against])) is not None:
                yield _Compared(where, _named(column, value), _named(column, against), test)


def _tested(own: Mapping[int, Mapping[str, Any]], base: Mapping[int, Mapping[str, Any]]) -> Paired | None:
    """The students of a value against those of the base, by seed; None without two seeds that have different ones."""
    seeds = sorted(seed for seed in own.keys() & base.keys() if own[seed]["id"] != base[seed]["id"])
    pairs = {name: [100 * of[seed]["accuracy"] for seed in seeds] for name, of in (("own", own), ("base", base))}
    return against_baseline(pairs, "base").get("own")


def _named(column: str, value: Any) -> str:
    return str(value) if column in (METHOD, POINT) else f"{column} = {value}"


def _sentence(one: _Compared, p_value: float) -> str:
    test = one.test
    side = "above" if test.difference >= 0 else "below"
    low, high = (test.low, test.high) if side == "above" else (-test.high, -test.low)
    interval = f"95 % interval {low:.1f} to {high:.1f}" if test.has_interval else "no interval"
    verdict = "significant" if p_value < _LEVEL else "not significant"
    return (
        f"{one.where}: {one.value} is {abs(test.difference):.1f} points {side} {one.base} ({interval}, "
        f"{counted(test.seeds, 'seed')}): {verdict} (Holm's {p_value_text(p_value)})."
    )
