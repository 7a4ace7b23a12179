"""The real service, by a clock that the tests move: the number in the file CLOCK, in seconds since the epoch."""

import os
from pathlib import Path

from tests.end_to_end.own_services import serve


class FileClock:
    """A clock that stands still until somebody writes another number into its file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> float:
        """The time, as `time.time` would say it."""
        return float(self.path.read_text())

    def set(self, now: float) -> None:
        """Move it; whoever looks meanwhile sees the old time or the new one."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(repr(now))
        fresh.replace(self.path)


if __name__ == "__main__":
    serve(FileClock(Path(os.environ["CLOCK"])))
