"""Problem types as a client reads them."""

import pytest

from shared.oip import problem


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"type": "/problems/quota-exceeded"}, "quota-exceeded"),
        ({"type": "https://example.org/problems/unknown-model", "status": 404}, "unknown-model"),
        ({"type": "about:blank"}, "about:blank"),
        ({"type": 7}, ""),
        ({"error": "no type"}, ""),
        ({}, ""),
        (["type"], ""),
        ("type", ""),
        (None, ""),
    ],
)
def test_type_is_read_from_any_document(document: object, kind: str) -> None:
    assert problem.type_of(document) == kind


def test_type_names_are_those_on_the_wire() -> None:
    """Workers that are already running compare with these strings."""
    names = (problem.QUOTA_EXCEEDED, problem.IDEMPOTENCY_MISMATCH, problem.UNKNOWN_MODEL)
    assert names == ("quota-exceeded", "idempotency-key-reused", "unknown-model")
