"""Samples to buy that the cache holds from another teacher, and whether that may be the same one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distill_worker.buying.other_teachers import held_of_others
from distill_worker.cache import Cache, RawAnswer
from tests.distill_worker.purchases import intend

KEYS = [bytes([index]) * 32 for index in range(6)]
HERE = "http://127.0.0.1:8000/m/1"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened


def _hold(cache: Cache, teacher_id: str, keys: list[bytes], kinds: tuple[str, ...] = ("logits",)) -> None:
    purchase = intend(cache, cache.order(teacher_id, kinds), keys, payer="alice")
    cache.complete(purchase, {kind: np.zeros((len(keys), 3), np.float32) for kind in kinds})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (HERE, "http://localhost:8000/m/1", True),
        (HERE, "https://127.0.0.1:8443/m/1", True),
        (HERE, "http://proxy.test/path/m/1", True),
        (HERE, "http://127.0.0.1:8000/m/9", True),
        (HERE, "1", True),
        ("abc", "http://127.0.0.1:8000/m/abc", True),
        (HERE, "http://127.0.0.1:8000/n/1", False),
        (HERE, "http://other.test/n/2", False),
        (HERE, "abc", False),
        ("abc", "abd", False),
    ],
)
def test_another_address_or_version_may_be_the_same_teacher(cache: Cache, one: str, other: str, same: bool) -> None:
    _hold(cache, other, KEYS[:3])
    (row,) = held_of_others(cache, one, ["logits"], KEYS[1:])
    assert (row.teacher_id, row.samples, row.may_be_the_same) == (other, 2, same)
    assert ("teacher.url" in str(row)) is same
    assert str(row).startswith(
        "2 samples to buy have their outputs in the cache, in an open purchase, or in a kept answer, "
        f"from teacher {other}"
    )


_MEANING, _ONE, _ANOTHER = "268e9a1095e1", "asked-0123456789ab", "asked-ba9876543210"


@pytest.mark.parametrize(
    ("one", "other", "setting"),
    [
        (f"{HERE}/file/{_MEANING}", f"{HERE}/{_MEANING}", "teacher.send"),
        (f"{HERE}/{_ONE}/file/{_MEANING}", f"{HERE}/{_ONE}/{_MEANING}", "teacher.send"),
        (f"{HERE}/{_ONE}/{_MEANING}", f"{HERE}/{_ANOTHER}/{_MEANING}", "teacher.prompt"),
    ],
)
def test_what_was_sent_otherwise_names_the_setting(cache: Cache, one: str, other: str, setting: str) -> None:
    """The image, or the question beside it."""
    _hold(cache, other, KEYS[:3])
    (row,) = held_of_others(cache, one, ["logits"], KEYS)
    assert row.may_be_the_same
    assert setting in str(row)
    assert str(row).endswith("these samples cost nothing")


def test_only_samples_with_all_wanted_kinds_count(cache: Cache) -> None:
    """The likeliest teacher comes first; the wanted teacher itself and other samples are no reason for a note."""
    _hold(cache, "http://localhost:8000/m/1", KEYS[:2], ("features.a", "logits"))
    _hold(cache, "http://localhost:8000/m/1", KEYS[2:4])
    _hold(cache, "abc", KEYS[:4], ("features.a", "logits"))
    _hold(cache, HERE, KEYS[4:], ("features.a", "logits"))
    rows = held_of_others(cache, HERE, ["features.a", "logits"], KEYS[:4])
    assert [(row.teacher_id, row.samples) for row in rows] == [("http://localhost:8000/m/1", 2), ("abc", 4)]
    assert held_of_others(cache, HERE, ["logits"], KEYS[4:]) == ()
    assert held_of_others(cache, HERE, ["logits"], []) == ()


def test_open_purchase_counts_because_it_may_have_been_charged(cache: Cache) -> None:
    """Under the other address it would be repeated for nothing."""
    other = "http://localhost:8000/m/1"
    intend(cache, cache.order(other, ["logits"]), KEYS[:2], payer="alice")
    assert [row.samples for row in held_of_others(cache, HERE, ["logits"], KEYS)] == [2]
    assert held_of_others(cache, HERE, ["features.a"], KEYS) == ()


def test_kept_answer_counts_because_it_was_paid(cache: Cache) -> None:
    """Under the other address it would be read again for nothing, if its settings are mended."""
    other = "http://localhost:8000/m/1"
    purchase = intend(cache, cache.order(other, ["logits"]), KEYS[:2], payer="alice")
    cache.keep(purchase, RawAnswer(b"junk", {}, asked_of=other, answered_by=other), reason="not readable")
    (row,) = held_of_others(cache, HERE, ["logits"], KEYS)
    assert (row.teacher_id, row.samples, row.may_be_the_same) == (other, 2, True)
    assert held_of_others(cache, HERE, ["features.a"], KEYS) == ()


def test_open_purchase_of_several_kinds_counts_for_each_of_them(cache: Cache) -> None:
    """Also if the other teacher has no outputs of one kind alone."""
    other = "http://localhost:8000/m/1"
    intend(cache, cache.order(other, ["label", "logits"]), KEYS[:2], payer="alice")
    for kinds in (["label"], ["logits"], ["label", "logits"]):
        assert [row.samples for row in held_of_others(cache, HERE, kinds, KEYS)] == [2]


def test_teacher_under_other_labels_is_named_as_such(cache: Cache) -> None:
    _hold(cache, "http://v/c/pets/unversioned/file/0123456789ab", KEYS)
    row = held_of_others(cache, "http://v/c/pets/unversioned/file/ba9876543210", ["logits"], KEYS)[0]
    assert row.may_be_the_same
    assert "under other values of teacher.labels" in str(row)
