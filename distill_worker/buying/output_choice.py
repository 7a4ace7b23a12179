"""Which kinds of output a run buys, out of those that the teacher sells.

Methods need `logits`, which stands for the most informative distribution that the teacher sells. The kinds that this
module returns are what the purchase, the cache and training use; training turns them into logits (`teacher_logits`).

Invariant: a kind that some method of the run cannot learn from is rejected before anything is bought.
"""

from collections.abc import Iterable

from distill_worker.config.run_config import RunConfig
from distill_worker.errors import PlanRefused
from distill_worker.methods import why_not_with
from shared.output_kinds import AUTO, LOGITS, most_informative


def choose_outputs(config: RunConfig, available: Iterable[str]) -> tuple[str, ...]:
    """The kinds that this run buys, sorted, if these are available; empty if no method needs a teacher.

    Raises:
        PlanRefused: the kind in `teacher.output` is not available, or no distribution is, or a method cannot learn
            from it.
    """
    needed = config.teacher_kinds
    if LOGITS not in needed:
        return needed
    kinds = list(available)
    kind = most_informative(kinds) if config.teacher.output == AUTO else config.teacher.output
    if kind is None or kind not in kinds:
        wanted = "logits or another distribution" if kind is None else repr(kind)
        raise PlanRefused(
            f"teacher.output: expected {wanted}, but the teacher sells {', '.join(kinds) or 'nothing'}. Nothing was "
            "spent"
        )
    if (reason := why_not_with(config.methods, kind)) is not None:
        raise PlanRefused(f"method: {reason}. Nothing was spent")
    return with_logits_as(kind, needed)


def with_logits_as(kind: str, needed: Iterable[str]) -> tuple[str, ...]:
    """These kinds, sorted, with `kind` in place of `logits`."""
    return tuple(sorted(kind if name == LOGITS else name for name in needed))
