"""Our service with a clock at each hand-over: what one request at a time waits for, step by step.

`python -m benchmarks.service.traced serve ...` takes what `teacher-service serve ...` takes. It must get one request at
a time. When it stops, it prints the seconds of each step of each request as one JSON line.
"""

import atexit
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any
from unittest.mock import patch

from shared import oip
from teacher_service.api.routes import infer
from teacher_service.cli import command as cli
from teacher_service.inference.batcher import MicroBatcher, QueueSlot
from teacher_service.ledger.group_commit import GroupCommit
from teacher_service.ledger.ledger import Ledger

STEPS = (
    "read and check",
    "reserve: to the writer",
    "reserve: begin",
    "reserve: statements",
    "reserve: commit",
    "reserve: to the loop",
    "model: to its thread",
    "model: compute",
    "model: to the loop",
    "encode",
    "settle: to the writer",
    "settle: begin",
    "settle: statements",
    "settle: commit, with the wait for the disk",
    "settle: to the loop",
)
"""From the end of the head to the start of the response."""


class Steps:
    """The marks of the request in flight, and the seconds between the marks of earlier ones."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._marks: list[float] = []

    def mark(self) -> None:
        """End a step, and begin the next."""
        self._marks.append(perf_counter())

    def begin(self) -> None:
        """Begin the first step of a request."""
        self._marks = [perf_counter()]

    def end(self) -> None:
        """End the last step; a request that did not take every step counts for nothing."""
        self.mark()
        if len(self._marks) == len(STEPS) + 1:
            for name, start, end in zip(STEPS, self._marks, self._marks[1:], strict=False):
                self.seconds[name].append(end - start)


@contextmanager
def marked(steps: Steps) -> Iterator[None]:
    """While this lasts, the service marks its steps."""
    with ExitStack() as stack:
        for owner, name, before, after in (
            (infer, "read_inference_request", steps.begin, None),
            (Ledger, "reserve", steps.mark, None),
            (Ledger, "settle", steps.mark, None),
            (GroupCommit, "_commit", steps.mark, None),
            (Ledger, "_count", steps.mark, steps.mark),
            (GroupCommit, "_resolve", steps.mark, None),
            (QueueSlot, "predict", steps.mark, None),
            (MicroBatcher, "_compute", steps.mark, steps.mark),
            (oip, "encode_response", steps.mark, None),
            (infer, "_respond", steps.end, None),
        ):
            stack.enter_context(patch.object(owner, name, _marking(getattr(owner, name), before, after)))
        yield


def _marking(
    function: Callable[..., Any], before: Callable[[], None], after: Callable[[], None] | None
) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        before()
        result = function(*args, **kwargs)
        if after is not None:
            after()
        return result

    return call


if __name__ == "__main__":
    collected = Steps()
    atexit.register(lambda: print(json.dumps(collected.seconds), flush=True))
    with marked(collected):
        cli.main()
