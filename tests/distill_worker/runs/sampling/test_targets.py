"""From the cache to one aligned tensor."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from distill_worker.cache import Cache
from distill_worker.errors import WorkerError
from distill_worker.runs.sampling.targets import find_bought, find_teacher, load_targets
from tests.distill_worker.purchases import intend

KEYS = [bytes([index]) * 32 for index in range(4)]
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened


def _fill(cache: Cache, teacher_id: str, samples: int, kind: str = "logits") -> None:
    purchase = intend(cache, cache.stream(teacher_id, kind), KEYS[:samples], payer="")
    cache.complete(purchase, {kind: ROWS[:samples]})


def test_row_i_is_the_output_of_key_i(cache: Cache) -> None:
    """Whatever the order, and a key may come twice."""
    _fill(cache, "t", 4)
    targets = load_targets(cache, "t", [KEYS[2], KEYS[0], KEYS[2]])["logits"]
    assert torch.equal(targets, torch.tensor([[6.0, 7, 8], [0, 1, 2], [6, 7, 8]]))
    assert targets.dtype == torch.float32


def test_absent_outputs_are_counted_and_the_purchase_named(cache: Cache) -> None:
    _fill(cache, "t", 2)
    with pytest.raises(WorkerError, match=r"2 of 4 teacher outputs are not in the cache.*distill-worker fetch"):
        load_targets(cache, "t", KEYS)


def test_output_cut_short_in_the_file_is_reported(cache: Cache, tmp_path: Path) -> None:
    """A vector that lost a number is still float32; it must not end in a traceback."""
    _fill(cache, "t", 4)
    with sqlite3.connect(tmp_path / "cache.sqlite") as connection:
        connection.execute("UPDATE blocks SET vectors = substr(vectors, 1, length(vectors) - 4)")
    connection.close()
    with pytest.raises(WorkerError, match="damaged"):
        load_targets(cache, "t", KEYS)


def test_the_only_complete_teacher_is_found(cache: Cache) -> None:
    """Other output kinds and half-bought teachers do not count."""
    _fill(cache, "half", 3)
    _fill(cache, "other", 4, kind="probabilities")
    _fill(cache, "whole", 4)
    assert find_teacher(cache, KEYS, None) == "whole"
    assert find_teacher(cache, KEYS, "whole") == "whole"


def test_several_complete_teachers_need_a_choice(cache: Cache) -> None:
    _fill(cache, "t", 4)
    _fill(cache, "u", 4)
    with pytest.raises(WorkerError, match=r"several.*--teacher-id.*t.*u"):
        find_teacher(cache, KEYS, None)
    assert find_teacher(cache, KEYS, "u") == "u"


@pytest.mark.parametrize(("teacher_id", "whose"), [(None, "of any teacher"), ("v", "of teacher v"), ("half", "half")])
def test_incomplete_outputs_are_refused_and_the_known_named(cache: Cache, teacher_id: str | None, whose: str) -> None:
    _fill(cache, "half", 3)
    with pytest.raises(WorkerError, match=rf"all 4 outputs .*{whose}.*teachers in .*: half.*distill-worker fetch"):
        find_teacher(cache, KEYS, teacher_id)


def test_features_come_back_in_their_shape(cache: Cache) -> None:
    """The cache keeps flat vectors, and the shape beside them."""
    maps = np.arange(48, dtype=np.float32).reshape(4, 3, 2, 2)
    purchase = intend(cache, cache.order("t", ["logits", "features.a"]), KEYS, payer="")
    cache.complete(purchase, {"logits": ROWS, "features.a": maps})
    targets = load_targets(cache, "t", [KEYS[3], KEYS[1]], ("features.a", "logits"))
    assert torch.equal(targets["features.a"], torch.from_numpy(maps[[3, 1]]))
    assert torch.equal(targets["logits"], torch.from_numpy(ROWS[[3, 1]]))


def test_teacher_needs_every_kind(cache: Cache) -> None:
    _fill(cache, "logits alone", 4)
    purchase = intend(cache, cache.order("both", ["logits", "features.a"]), KEYS, payer="")
    cache.complete(purchase, {"logits": ROWS, "features.a": ROWS})
    assert find_teacher(cache, KEYS, None, ("logits", "features.a")) == "both"
    with pytest.raises(WorkerError, match="several"):
        find_teacher(cache, KEYS, None)


def test_most_telling_kind_that_is_whole_is_found(cache: Cache) -> None:
    """Logits of half the samples are worth less than probabilities of all."""
    _fill(cache, "t", 2)
    _fill(cache, "t", 4, kind="label")
    _fill(cache, "t", 4, kind="probabilities:2")
    assert find_bought(cache, KEYS, None, ["logits"]) == ("t", ("probabilities:2",))
    assert find_bought(cache, KEYS[:2], None, ["logits"]) == ("t", ("logits",))
    assert find_bought(cache, KEYS, None, ["logits"], "label") == ("t", ("label",))
    with pytest.raises(WorkerError, match=r"all 4 outputs \(top_k:3\) of any teacher"):
        find_bought(cache, KEYS, None, ["logits"], "top_k:3")


def test_teachers_that_told_different_kinds_need_a_choice(cache: Cache) -> None:
    """The more telling one is not taken silently: it may be the worse teacher."""
    _fill(cache, "t", 4)
    _fill(cache, "u", 4, kind="label")
    with pytest.raises(WorkerError, match=r"several.*--teacher-id.*t.*u"):
        find_bought(cache, KEYS, None, ["logits"])
    assert find_bought(cache, KEYS, "u", ["logits"]) == ("u", ("label",))
    with pytest.raises(WorkerError, match=r"\(logits or another distribution\) of teacher v .*teachers in .*: t, u"):
        find_bought(cache, KEYS, "v", ["logits"])


def test_features_are_found_beside_a_distribution(cache: Cache) -> None:
    _fill(cache, "without", 4, kind="label")
    _fill(cache, "with", 4, kind="label")
    _fill(cache, "with", 4, kind="features.a")
    assert find_bought(cache, KEYS, None, ["features.a", "logits"]) == ("with", ("features.a", "label"))
