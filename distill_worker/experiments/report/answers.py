"""The answers of a comparison, in sentences that say how sure they are."""

import statistics
from collections.abc import Mapping
from typing import Any, Final

from distill_worker.errors import counted
from distill_worker.experiments.report.wording import NO_BREAK, points
from distill_worker.experiments.results.accuracies import accuracies_of
from distill_worker.experiments.results.paired_tests import p_value_text
from distill_worker.experiments.results.table import paired_tests

_SIGNIFICANT: Final = 0.05


def answers_of(facts: Mapping[str, Any]) -> list[str]:
    """A sentence on the best row for each n, the largest first, and each track."""
    tracks = list(dict.fromkeys(result["track"] for result in facts["results"]))
    return [
        _answer(facts, n, track, names_track=len(tracks) > 1)
        for n in sorted(facts["n"], reverse=True)
        for track in tracks
    ]


def _answer(facts: Mapping[str, Any], n: int, track: str, *, names_track: bool) -> str:
    rows = dict.fromkeys(result["method"] for result in facts["results"] if result["track"] == track)
    means = {row: statistics.mean(own) for row in rows if (own := accuracies_of(facts, row, n))}
    best = max(means, key=means.__getitem__)
    where = f"at n{NO_BREAK}={NO_BREAK}{n:,}"
    best_row = f"{best} (track {track})" if names_track else best
    seeds, baseline = counted(facts["seeds"], "seed"), facts["baseline"]
    if baseline not in (None, best):
        difference = means[best] - statistics.mean(accuracies_of(facts, baseline, n))
        side = "above" if difference >= 0 else "below"
        certainty = _certainty(facts, n, best)
        return f"{best_row} is {abs(difference):.1f} points {side} {baseline} {where} ({seeds}): {certainty}."
    if len(means) == 1:
        return f"{best_row} gets {points(means[best])} {where} ({seeds})."
    role = "the baseline" if best == baseline else f"the best of {counted(len(means), 'row')}"
    row_above = "no row of its track" if names_track else "no row"
    above = f", and {row_above} is above it" if best == baseline else ""
    return f"{best_row} is {role} {where}{above}: {points(means[best])} ({seeds})."


def _certainty(facts: Mapping[str, Any], n: int, row: str) -> str:
    test = paired_tests(facts, n).get(row)
    if test is None:
        return "one seed, so no test"
    verdict = "significant" if test.holm_p_value < _SIGNIFICANT else "not significant"
    return f"{verdict} ({p_value_text(test.holm_p_value).replace(' ', NO_BREAK)})"
