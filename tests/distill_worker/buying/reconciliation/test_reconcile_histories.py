"""Random histories of purchases whose truth is known, as `reconcile` tells them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from distill_worker.buying.reconciliation.reconcile import reconcile
from distill_worker.cache import Cache
from distill_worker.cache.exchange.export_import import export, import_file
from distill_worker.errors import TeacherError, TeacherUnavailable
from distill_worker.teachers.base import LoggedQuery
from shared.sample_key import sample_keys
from tests.distill_worker.fake_teacher import Crash, FakeTeacher, Fault
from tests.distill_worker.purchases import Samples, carry_out, intend
from tests.endurance import rounds


@dataclass
class BookkeepingTeacher(FakeTeacher):
    """Keeps a log of what it charged, and tells it."""

    lost: set[str] = field(default_factory=set)
    """Idempotency-Keys that its log does not have."""
    keeps_log: bool = True

    def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:  # noqa: ARG002 - all is told
        """See `Teacher`."""
        kept = [key for key in self.charged if key not in self.lost]
        queries = [
            LoggedQuery(key, f"r-{key}", len(self.charged[key]), self.paid_for[key], "settled", "t", 1.0, 2.0)
            for key in reversed(kept)
        ]
        return iter(queries) if self.keeps_log else None


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened


def test_teacher_that_tells_nothing_cannot_be_reconciled(cache: Cache) -> None:
    with pytest.raises(TeacherError, match="expected a query log or a counter"):
        reconcile(FakeTeacher(), FakeTeacher().description, cache)


@pytest.mark.parametrize(("keeps_log", "finding"), [(True, "waiting"), (False, "uncertain")])
def test_purchase_that_ends_meanwhile_is_no_difference(
    cache: Cache, samples: Samples, keeps_log: bool, finding: str
) -> None:
    """The teacher was asked before it charged, the cache after it held the answer."""

    class Meanwhile(BookkeepingTeacher):
        def queries(self, since: float | None = None) -> Iterator[LoggedQuery] | None:
            told = super().queries(since)
            carry_out(self, cache, samples)
            return told

    teacher = Meanwhile(limit=100, keeps_log=keeps_log)
    found = reconcile(teacher, teacher.description, cache)
    assert (found.differences, {row.finding for row in found.rows}) == ((), {finding})
    found = reconcile(teacher, teacher.description, cache)
    assert (found.differences, {row.finding for row in found.rows}) == ((), {"held"})


def test_outputs_that_another_cache_bought_and_shared_are_told_as_imported(cache: Cache, samples: Samples) -> None:
    """A cache that was lost, and restored from what it had exported, agrees with the teacher."""
    teacher = BookkeepingTeacher(limit=100)
    with TemporaryDirectory() as folder, Cache(Path(folder) / "other.sqlite") as other:
        carry_out(teacher, other, samples)
        export(other, Path(folder) / "shared.safetensors")
        import_file(cache, Path(folder) / "shared.safetensors")
    found = reconcile(teacher, teacher.description, cache)
    assert (found.differences, {row.finding for row in found.rows}) == ((), {"imported"})
    assert found.samples("imported") == found.charged == 12


def test_counter_counts_what_was_bought_under_a_former_name(cache: Cache, samples: Samples) -> None:
    teacher = BookkeepingTeacher(limit=100, keeps_log=False)
    carry_out(teacher, cache, samples)
    teacher.payer, teacher.credential = "key-id", "alice"
    found = reconcile(teacher, teacher.description, cache)
    assert (found.differences, found.samples("held")) == ((), 12)


ENDS = {
    (True, "done"): "held",
    (True, "open"): "unfetched",
    (True, "void"): "given up",
    (False, "open"): "waiting",
    (False, "void"): "refused",
    (False, "done"): "unlogged",
}
"""What there is to find, by whether it is charged in the teacher's books, and how it ended here."""

IMAGES = np.arange(30 * 4, dtype=np.uint8).reshape(30, 1, 2, 2)


@given(st.lists(st.tuples(st.sampled_from([*ENDS]), st.integers(1, 4), st.booleans()), max_size=7), st.booleans())
@settings(max_examples=rounds(8, 25))
def test_any_history_is_told_as_it_was(history: list[tuple[tuple[bool, str], int, bool]], shared_key: bool) -> None:
    """Purchases of distinct samples, by this cache or by another on the same account, each with an end of its own."""
    teacher = BookkeepingTeacher(limit=1000)
    truth: Counter[tuple[str, int]] = Counter()
    start = 0
    with TemporaryDirectory() as folder, Cache(Path(folder) / "a") as here, Cache(Path(folder) / "b") as other:
        for (charged, end), size, is_here in history:
            images = IMAGES[start : start + size]
            start += size
            cache = here if is_here else other
            _buy(teacher, cache, images, charged=charged, end=end)
            if is_here:
                truth[ENDS[charged, end], size] += 1
            elif charged:
                truth["elsewhere", size] += 1
        found = reconcile(teacher, teacher.description, here, shared_key=shared_key)
    told = [row for row in found.rows if row.finding != "counter"]
    assert Counter((row.finding, row.samples) for row in told) == truth
    lost = sum(size for (charged, end), size, _ in history if end == "done" and not charged)
    wrong = {"given up", "unlogged"} | (set() if shared_key else {"elsewhere"})
    differences = sum(count for (finding, _), count in truth.items() if finding in wrong)
    assert len(found.differences) == differences + (lost > 0)
    assert teacher.paid - found.charged == lost == found.samples("counter")


def _buy(teacher: BookkeepingTeacher, cache: Cache, images: NDArray[np.uint8], *, charged: bool, end: str) -> None:
    """A purchase that goes so; one that is done and not charged was charged, and the teacher's log lost it."""
    order = cache.order(teacher.description.id, ("logits",))
    purchase = intend(cache, order, sample_keys(images), payer=teacher.payer)
    if charged or end == "done":
        answer = teacher.buy(images, description=teacher.description, idempotency_key=purchase.idempotency_key)
        if not charged:
            teacher.lost.add(purchase.idempotency_key)
        if end == "done":
            cache.complete(purchase, answer.outputs)
    if end == "void":
        cache.void(purchase)


faults: st.SearchStrategy[Fault] = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(["before", "after"]), st.sampled_from([TeacherUnavailable("lost"), Crash()])),
)


@given(st.lists(st.lists(faults, max_size=4), max_size=4), st.integers(1, 3))
@settings(max_examples=rounds(8, 20))
def test_fetch_that_fails_anywhere_leaves_no_difference(
    samples: Samples, runs: list[list[Fault]], concurrency: int
) -> None:
    """After each run what was charged is held or will be fetched; after one that goes well, all of it is held."""
    teacher = BookkeepingTeacher(limit=12)
    with TemporaryDirectory() as folder, Cache(Path(folder) / "cache.sqlite") as cache:
        for run in runs:
            teacher.will(*run)
            with suppress(Crash, TeacherUnavailable):
                carry_out(teacher, cache, samples, request_size=2, concurrency=concurrency)
            found = reconcile(teacher, teacher.description, cache)
            assert found.differences == ()
            assert found.samples("held") + found.samples("unfetched") == teacher.paid == found.charged
            assert {row.finding for row in found.rows} <= {"held", "unfetched", "waiting"}
        teacher.will()
        carry_out(teacher, cache, samples, request_size=2, concurrency=concurrency)
        found = reconcile(teacher, teacher.description, cache)
        assert {row.finding for row in found.rows} == {"held"}
        assert found.samples("held") == found.charged == 12
        teacher.keeps_log = False
        counted = reconcile(teacher, teacher.description, cache)
        assert (counted.by, counted.differences, counted.samples("held")) == ("counter", (), 12)
