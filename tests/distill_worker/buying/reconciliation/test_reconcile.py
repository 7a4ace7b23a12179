"""The worker's books against the teacher's: each finding, by hand."""

from dataclasses import replace
from typing import Any

import pytest

from distill_worker.buying.reconciliation.reconcile import compare, compare_counter
from distill_worker.buying.reconciliation.report import Reconciliation
from distill_worker.cache import PurchaseRecord
from distill_worker.teachers.base import LoggedQuery

A, B, C = (bytes([letter]) * 32 for letter in b"abc")


def bought(key: str = "k1", samples: tuple[bytes, ...] = (A, B), **facts: Any) -> PurchaseRecord:
    """A purchase that went well."""
    usual = PurchaseRecord(key, "alice", "http://here/t/7", ("logits",), samples, "done", 1.0, 2.0, f"q-{key}", None)
    return replace(usual, **facts)


def logged(key: str | None = "k1", samples: int = 2, **facts: Any) -> LoggedQuery:
    """A query that was charged."""
    usual = LoggedQuery(key, f"q-{key}", samples, ("logits",), "settled", "7", 1.0, 2.0)
    return replace(usual, **facts)


def findings(found: Reconciliation) -> list[tuple[str, int]]:
    """Each row's finding and samples."""
    return [(row.finding, row.samples) for row in found.rows]


HELD = ("held", 2)

CASES = {
    "paid and held": ([bought()], [logged()], [HELD], 0),
    "nothing at all": ([], [], [], 0),
    "answer not fetched yet": ([bought(status="open")], [logged()], [("unfetched", 2)], 0),
    "never arrived": ([bought(status="open")], [], [("waiting", 2)], 0),
    "released": ([bought(status="open")], [logged(status="released")], [("waiting", 2)], 0),
    "released, then charged": ([bought()], [logged(), logged(status="released")], [HELD], 0),
    "being answered": ([bought(status="open")], [logged(status="held")], [("answering", 2)], 0),
    "refused": ([bought(status="void")], [], [("refused", 2)], 0),
    "given up": ([bought(status="void")], [logged()], [("given up", 2)], 1),
    "from elsewhere": ([bought()], [logged(), logged("other", 5)], [HELD, ("elsewhere", 5)], 1),
    "from elsewhere, unnamed": ([], [logged(None, 5)], [("elsewhere", 5)], 1),
    "being answered elsewhere": ([], [logged("other", 5, status="held")], [("answering", 5)], 0),
    "not in the log": ([bought()], [], [("unlogged", 2)], 1),
    "released, and yet held": ([bought()], [logged(status="released")], [("unlogged", 2)], 1),
    "fewer samples charged": ([bought()], [logged(samples=1)], [("differs", 1)], 1),
    "fewer samples charged, not fetched": ([bought(status="open")], [logged(samples=1)], [("differs", 1)], 1),
    "other outputs": ([bought()], [logged(outputs=("label",))], [("differs", 2)], 1),
    "another version": ([bought()], [logged(model_version="8")], [("differs", 2)], 1),
    "another version, as was said": ([bought(model_version="8")], [logged(model_version="8")], [HELD], 0),
    "two outputs, in parts": (
        [bought(kinds=("features.a:b", "top_k:5:3"))],
        [logged(outputs=("top_k", "features.a:b", "top_k_indices"))],
        [HELD],
        0,
    ),
    "charged twice": ([bought()], [logged(), logged()], [HELD, ("charged twice", 2)], 1),
    "bought again": (
        [bought(), bought("k2", (B, C))],
        [logged(), logged("k2")],
        [HELD, HELD, ("twice", 1)],
        1,
    ),
    "bought again, not fetched": (
        [bought(), bought("k2", (B, C), status="open")],
        [logged(), logged("k2")],
        [HELD, ("unfetched", 2), ("twice", 1)],
        1,
    ),
    "bought again after it was given up": (
        [bought(status="void"), bought("k2")],
        [logged(), logged("k2")],
        [("given up", 2), HELD],
        1,
    ),
    "bought again for more": (
        [bought(), bought("k2", kinds=("features.x", "logits"))],
        [logged(), logged("k2", outputs=("logits", "features.x"))],
        [HELD, HELD],
        0,
    ),
    "bought again for less": (
        [bought(kinds=("features.x", "logits")), bought("k2")],
        [logged(outputs=("logits", "features.x")), logged("k2")],
        [HELD, HELD, ("twice", 2)],
        1,
    ),
    "of two teachers": (
        [bought(), bought("k2", teacher_id="http://here/t/8")],
        [logged(), logged("k2", model_version="8")],
        [HELD, HELD],
        0,
    ),
    "imported from another account": ([bought("import-k1-0a1b", status="imported", payer="")], [], [], 0),
    "imported from a cache of this account": (
        [bought("import-k1-0a1b", (A,), status="imported", payer="")],
        [logged()],
        [("imported", 2)],
        0,
    ),
    "under a rotated key": ([bought(payer="alice before")], [logged()], [HELD], 0),
    "of another account": ([bought(payer="bob")], [], [], 0),
    "a log without keys": ([bought()], [logged(None, request_id="q-k1")], [HELD], 0),
}


@pytest.mark.parametrize("case", CASES)
def test_each_finding(case: str) -> None:
    purchases, queries, expected, differences = CASES[case]
    found = compare(purchases, queries, payers={"alice"})
    assert findings(found) == expected
    assert len(found.differences) == differences
    assert found.charged == sum(query.samples for query in queries if query.status == "settled")
    assert {row[0] for row in found.table()} == {row.finding for row in found.rows}


def test_difference_says_what_differs() -> None:
    found = compare([bought()], [logged(samples=1, outputs=("label",), model_version="8")])
    assert [row.detail for row in found.rows] == [
        "samples: 2 in the cache, 1 in the log; outputs: logits in the cache, label in the log; "
        "version: 7 in the cache, 8 in the log"
    ]


def test_counter_that_contradicts_the_log_is_a_difference() -> None:
    assert compare([bought()], [logged()], used=2).differences == ()
    assert findings(compare([bought()], [logged()], used=5)) == [HELD, ("counter", 3)]


@pytest.mark.parametrize(
    ("used", "expected", "differences"),
    [
        (1, [("unlogged", 1)], 1),
        (2, [], 0),
        (4, [], 0),
        (5, [], 0),
        (6, [("elsewhere", 1)], 1),
    ],
)
def test_counter_alone_bounds_what_was_charged(used: int, expected: list[tuple[str, int]], differences: int) -> None:
    """Two samples are held, three may have been charged or not."""
    purchases = [bought(), bought("k2", (A, B, C), status="open"), bought("k3", status="void")]
    found = compare_counter([*purchases, bought("k4", status="imported")], used)
    assert findings(found) == [HELD, ("uncertain", 3), *expected]
    assert len(found.differences) == differences
    assert (found.by, found.charged) == ("counter", used)


def test_facts_tell_sums_and_every_row_that_does_not_agree() -> None:
    """What is from elsewhere is no difference on a shared key, and is told all the same."""
    found = compare([bought(), bought("k2", (C,), status="open")], [logged(), logged("other", 5)], payers={"alice"})
    assert (found.facts()["differences"], replace(found, shared_key=True).facts()["differences"]) == (1, 0)
    facts = replace(found, shared_key=True).facts()
    assert (facts["by"], facts["charged"], facts["held"], facts["shared_key"]) == ("log", 7, 2, True)
    assert {finding: row["samples"] for finding, row in facts["findings"].items()} == {
        "held": 2,
        "waiting": 1,
        "elsewhere": 5,
    }
    assert [(row["finding"], row["idempotency_key"], row["query_id"]) for row in facts["rows"]] == [
        ("waiting", "k2", "q-k2"),
        ("elsewhere", "other", "q-other"),
    ]
    assert [row[:3] for row in found.table()] == [("held", "1", "2"), ("waiting", "1", "1"), ("elsewhere", "1", "5")]


def test_advice_depends_on_whether_repeats_are_free() -> None:
    found = compare([bought(status="open")], [logged()])
    assert "run fetch" in found.table()[0][3]
    assert "does not repeat it" in replace(found, repeats_are_free=False).table()[0][3]
