"""SIGKILL while an unreadable answer is kept, and while it is read again: no image is ever paid for twice."""

import signal
import sqlite3
from collections import Counter
from contextlib import closing
from itertools import chain, count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.end_to_end.processes import join, start
from tests.foreign.labelled_scores_server import ForeignScores, served

CONFIG = """
data.name = "digits"
student.network = "resnet8"
method.name = "kd"
budget.n = 2
output.cache = "{cache}"
[teacher]
protocol = "labelled-scores"
url = "{url}"
num_classes = 10
top_k = 2
labels = {labels}
"""
UNMENDED, MENDED = "{cat = 0, dog = 1}", "{cat = 0, dog = 1, newt = 4}"


class Vendor(ForeignScores):
    """Answers with a label that the first table does not have, and remembers the images."""

    def __init__(self) -> None:
        self.images: Counter[bytes] = Counter()
        super().__init__(self._predict)

    def _predict(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        self.images[image.tobytes()] += 1
        return np.array([0.25, 0.125, 0.625])


def _run(tmp_path: Path, url: str, command: str, labels: str, die_at: str | None = None) -> int | None:
    """The exit status of one command, in a process of its own."""
    config = tmp_path / "run.toml"
    config.write_text(CONFIG.format(cache=tmp_path / "cache.sqlite", url=url, labels=labels))
    module = "distill_worker" if die_at is None else "tests.end_to_end.dying_worker"
    options = ["--yes"] if command == "fetch" else []
    environment = {"TEACHER_API_KEY": "secret", "DIE_AT": die_at or ""}
    process = start(module, [command, str(config), *options], tmp_path / "log", environment)
    join(process)
    return process.exitcode


def _statuses(tmp_path: Path) -> Counter[str]:
    with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as cache:
        return Counter(status for (status,) in cache.execute("SELECT status FROM purchases"))


def test_kill_between_the_answer_and_its_keeping_is_not_paid_for_again(tmp_path: Path) -> None:
    """At the answer itself, and at each commit after the request: repeats cost, so the purchase is left alone."""
    vendor = Vendor()
    with served(vendor) as url:
        for die_at in chain(["answer:1"], (f"commit:{number}" for number in count(1))):
            place = tmp_path / die_at
            place.mkdir()
            vendor.images.clear()
            status = _run(place, url, "fetch", UNMENDED, die_at)
            if status != -signal.SIGKILL:
                break
            for labels in (UNMENDED, MENDED, MENDED):
                _run(place, url, "fetch", labels)
            assert max(vendor.images.values(), default=0) <= 1, die_at
            assert sum(vendor.images.values()) <= 2, die_at
        assert (status, _statuses(place)) == (4, {"unread": 1})


def test_kill_while_an_answer_is_read_again_loses_nothing(tmp_path: Path) -> None:
    """At each commit of a plan after the table was mended."""
    vendor = Vendor()
    with served(vendor) as url:
        assert _run(tmp_path, url, "fetch", UNMENDED) == 4
        assert _statuses(tmp_path) == {"unread": 1}
        for number in count(1):
            status = _run(tmp_path, url, "plan", MENDED, f"commit:{number}")
            if status != -signal.SIGKILL:
                break
            assert _statuses(tmp_path) == {"unread": 1}, "killed before the commit that stores the outputs"
        assert (status, _statuses(tmp_path)) == (0, {"done": 1})
        assert vendor.charged == 1
        assert _run(tmp_path, url, "fetch", MENDED) == 0
        assert (vendor.charged, _statuses(tmp_path)) == (2, {"done": 2})
    assert set(vendor.images.values()) == {1}
