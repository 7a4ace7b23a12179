"""Strategies that select the samples to buy, by name; the configuration and `distill-worker strategies` read them.

Every strategy gets the candidates in hash order (`ranking.rank`) and returns the next ones to buy.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from distill_worker.data.selection.badge import badge
from distill_worker.data.selection.candidates import GRADIENTS, PIXELS, STUDENT, Candidates, Strategy
from distill_worker.data.selection.class_balanced import class_balanced
from distill_worker.data.selection.coarse_to_fine import coarse_to_fine
from distill_worker.data.selection.entropy import entropy
from distill_worker.data.selection.k_center import k_center
from distill_worker.data.selection.k_center_softmax import k_center_softmax
from distill_worker.data.selection.margin import margin
from distill_worker.data.selection.ranking import divide, rank, set_apart, shares
from distill_worker.data.selection.typical import typical
from distill_worker.data.selection.uniform_random import random

__all__ = [
    "GRADIENTS",
    "PIXELS",
    "STRATEGIES",
    "STUDENT",
    "Candidates",
    "Strategy",
    "choose",
    "described",
    "divide",
    "rank",
    "set_apart",
    "shares",
]

_SAME_STUDENT = "for the same student"

STRATEGIES: Mapping[str, Strategy] = {
    "random": Strategy(random, (), "yes", "the baseline; docs/decisions/0001"),
    "class-balanced": Strategy(class_balanced, ("labels",), "yes", "usual practice"),
    "k-center": Strategy(k_center, ("features",), "yes", "Sener and Savarese 2018, arXiv 1708.00489"),
    "typical": Strategy(typical, ("features",), "from n = 500 on", "Hacohen et al. 2022, arXiv 2202.02794"),
    "coarse-to-fine": Strategy(coarse_to_fine, ("features",), "yes", "in stages, after Hacohen et al. 2022"),
    "entropy": Strategy(entropy, ("student",), _SAME_STUDENT, "Settles 2009"),
    "margin": Strategy(margin, ("student",), _SAME_STUDENT, "Scheffer et al. 2001"),
    "badge": Strategy(badge, ("student",), _SAME_STUDENT, "Ash et al. 2020, arXiv 1906.03671"),
    "k-center-softmax": Strategy(k_center_softmax, ("student",), _SAME_STUDENT, "Pal et al. 2019, arXiv 1905.09165"),
}
"""In the order in which they are listed."""


def choose(name: str, candidates: Candidates, n: int, taken: Sequence[int] = ()) -> list[int]:
    """The next n positions among the candidates, in the order of selection.

    Raises:
        ValueError: fewer than n are left.
    """
    left = len(candidates) - len(taken)
    if n > left:
        raise ValueError(f"n: expected at most {left}, the samples that are left, got {n}")
    return STRATEGIES[name].choose(candidates, n, taken) if n else []


def described() -> list[dict[str, Any]]:
    """One row for each strategy: name, summary, needs, whether nested, source."""
    return [
        {
            "name": name,
            "summary": _summary(strategy),
            "needs": list(strategy.needs),
            "nested": strategy.nested,
            "paper": strategy.paper,
        }
        for name, strategy in STRATEGIES.items()
    ]


def _summary(strategy: Strategy) -> str:
    """The first line of the docstring of the strategy's module, without the name."""
    first = (sys.modules[strategy.choose.__module__].__doc__ or "").splitlines()[0]
    return first.partition(": ")[2]
