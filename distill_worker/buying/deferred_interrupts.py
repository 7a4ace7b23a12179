"""Interrupts while answers that are paid for are in flight."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType


@contextmanager
def interrupts_held_back() -> Iterator[Callable[[], None]]:
    """An interrupt that comes in here is raised where the function that this yields is called next, or at the end.

    Raised wherever it comes, KeyboardInterrupt may leave a lock taken for ever: that of a SQLite file, where a
    transaction had just begun, or those of the futures, which `concurrent.futures.wait` takes one after the other. What
    is paid for could not be kept then. Signals that the program does not answer with KeyboardInterrupt stay as they
    are.
    """
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    def look() -> None:
        if came:
            came.clear()
            raise KeyboardInterrupt

    held = []
    if current_thread() is main_thread():  # no other is interrupted
        both = (signal.SIGINT, signal.SIGTERM)
        held = [number for number in both if signal.getsignal(number) is signal.default_int_handler]
    for number in held:
        signal.signal(number, note)
    try:
        yield look
    finally:
        for number in held:
            signal.signal(number, signal.default_int_handler)
    look()
