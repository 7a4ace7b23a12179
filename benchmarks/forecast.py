"""The tables of docs/results/forecast.md: whether forecasts covered what was measured later.

`python -m benchmarks.forecast digits.json glyphs.json` prints them. Each file has what `distill-worker compare --json`
printed for the comparison of that name in `examples/forecast/`. Of each method, the sizes up to a quarter of the
largest one are fitted, and the others are forecast. `--into PAGE` puts the tables between the lines `<!-- tables -->`
and `<!-- end -->` of a page, whose other text stays. `make forecasts` does all of it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.tables_page import Facts, print_or_insert
from distill_worker.errors import CheckFailed
from distill_worker.experiments.forecast.forecast import FARTHEST, Forecast, Prediction
from distill_worker.experiments.forecast.measured_curve import MeasuredCurve, curve_of
from distill_worker.experiments.results.accuracies import methods_of
from distill_worker.experiments.results.table import markdown


class Case(NamedTuple):
    """One forecast, and what was measured."""

    data: str
    method: str
    fitted: tuple[int, ...]
    prediction: Prediction
    measured: float

    @property
    def is_covered(self) -> bool:
        """Whether the band has what was measured."""
        return self.prediction.low <= self.measured <= self.prediction.high


class Rejected(NamedTuple):
    """A method that has no forecast."""

    data: str
    method: str
    reason: str


def main() -> None:
    """Print the tables, or put them into a page."""
    print_or_insert(tables_of, page_name="forecast.md", title="Is a forecast right?")


def tables_of(comparisons: Mapping[str, Facts]) -> str:
    """How many forecasts covered what was measured, by data set, and each forecast."""
    outcomes = [
        outcome
        for data, facts in comparisons.items()
        for method in methods_of(facts)
        for outcome in _outcomes(data, method, facts)
    ]
    cases = [outcome for outcome in outcomes if isinstance(outcome, Case)]
    rejected = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    heading = ("data set", "method", "fitted", "n", "forecast % (band)", "measured %", "in the band")
    parts = ["## How many were covered\n", _summary(list(comparisons), cases)]
    parts += ["\n## Each forecast\n", markdown(heading, [_row(case) for case in cases])]
    if rejected:
        parts += ["\n## No forecast\n", markdown(("data set", "method", "reason"), rejected)]
    return "\n".join([*parts, ""])


def _outcomes(data: str, method: str, facts: Facts) -> list[Case] | list[Rejected]:
    """The forecasts of one method."""
    curve = curve_of(facts, method, source=data)
    try:
        forecast = Forecast(curve.up_to(curve.largest // FARTHEST))
    except CheckFailed as error:
        return [Rejected(data, method, str(error))]
    later = [column for column, size in enumerate(curve.sizes) if size > forecast.curve.largest]
    return [_case(data, forecast, curve, column) for column in later]


def _case(data: str, forecast: Forecast, curve: MeasuredCurve, column: int) -> Case:
    prediction = forecast.at(curve.sizes[column])
    return Case(data, curve.method, forecast.curve.sizes, prediction, float(1 - curve.means[column]))


def _summary(names: Sequence[str], cases: Sequence[Case]) -> str:
    of_data = {name: [case for case in cases if case.data == name] for name in names} | {"all": cases}
    rows = [
        (name, str(len(some)), str(covered := sum(case.is_covered for case in some)), f"{covered / len(some):.0%}")
        for name, some in of_data.items()
        if some
    ]
    return markdown(("data set", "forecasts", "covered", "share"), rows)


def _row(case: Case) -> tuple[str, ...]:
    forecast = case.prediction
    return (
        case.data,
        case.method,
        ", ".join(map(str, case.fitted)),
        str(forecast.n),
        f"{100 * forecast.accuracy:.1f} ({100 * forecast.low:.1f} to {100 * forecast.high:.1f})",
        f"{100 * case.measured:.1f}",
        "yes" if case.is_covered else "**no**",
    )


if __name__ == "__main__":
    main()
