"""What the code of a network raises, as one sentence: it is the user's code, and may raise anything."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from distill_worker.errors import ConfigError, WorkerError

_LONGEST_REASON: Final = 300


@contextmanager
def translated_errors(expected: str, remedy: str = "") -> Iterator[None]:
    """Translate what a network raises to a `ConfigError`; the errors of the worker pass.

    Args:
        expected: what the network was expected to do.
        remedy: what to do next.
    """
    try:
        yield
    except WorkerError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise ConfigError(
            f"student.network: expected {expected}, got {type(error).__name__}: {reason}{remedy}"
        ) from error


def training_errors(expected: str) -> AbstractContextManager[None]:
    """As `translated_errors`, after the outputs were bought."""
    return translated_errors(
        expected,
        ". The outputs that were bought stay in the cache. Mend the network or lower training.batch_size, and run the "
        "same command again",
    )
