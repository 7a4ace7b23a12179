"""Which of the kinds of output that a teacher offers a run buys.

Methods ask for `logits`, and mean the distribution that the teacher tells most of; so do all that this returns to: the
purchase, the cache, and training, which completes what was bought (`completion`).

Invariant: what no method of the run could learn from is refused before anything is bought.
"""

from collections.abc import Iterable

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import PlanRefused
from distill_worker.methods import why_not_with
from shared.output_kinds import AUTO, LOGITS, most_informative


def kinds_to_buy(config: RunConfig, offered: Iterable[str]) -> tuple[str, ...]:
    """The kinds that this run asks of a teacher that offers these, sorted; none when no method asks a teacher.

    Raises:
        PlanRefused: the kind that `teacher.output` names is not offered, or no distribution is, or a method cannot
            learn from it.
    """
    needed = config.teacher_kinds
    if LOGITS not in needed:
        return needed
    told = list(offered)
    kind = most_informative(told) if config.teacher.output == AUTO else config.teacher.output
    if kind is None or kind not in told:
        wanted = "logits, or another distribution," if kind is None else repr(kind)
        raise PlanRefused(
            f"teacher.output: {wanted} is wanted, and the teacher offers {', '.join(told) or 'nothing'}. "
            "Nothing was spent"
        )
    if (reason := why_not_with(config.methods, kind)) is not None:
        raise PlanRefused(f"method: {reason}. Nothing was spent")
    return with_logits_as(kind, needed)


def with_logits_as(kind: str, needed: Iterable[str]) -> tuple[str, ...]:
    """These kinds, sorted, with `kind` in the place of `logits`."""
    return tuple(sorted(kind if name == LOGITS else name for name in needed))
