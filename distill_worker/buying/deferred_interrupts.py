"""Defer interrupts while requests that are paid for are in flight."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], None]]:
    """Defer SIGINT, SIGTERM, SIGHUP: raise KeyboardInterrupt at the next call of the yielded function, or at the end.

    A KeyboardInterrupt at any point could leave a lock taken for ever: that of a SQLite file whose transaction had just
    begun, or those of futures, which `concurrent.futures.wait` takes one after another. Answers that are paid for could
    then not be stored. Signals that the program does not answer with KeyboardInterrupt stay as they are.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    def raise_if_received() -> None:
        if received:
            received.clear()
            raise KeyboardInterrupt

    deferred = []
    if current_thread() is main_thread():  # no other thread is interrupted
        ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        deferred = [number for number in ending if signal.getsignal(number) is signal.default_int_handler]
    for number in deferred:
        signal.signal(number, note)
    try:
        yield raise_if_received
    finally:
        for number in deferred:
            signal.signal(number, signal.default_int_handler)
    raise_if_received()
