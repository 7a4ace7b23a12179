"""Consent to a purchase: what is agreed to without a question, and what an answer covers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from distill_worker.buying.fetch import fetch
from distill_worker.buying.order import claims_on
from distill_worker.buying.plan import Plan
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.cli.actions import agreed_purchase
from distill_worker.cli.actions.agreed_purchase import Consent
from distill_worker.errors import PlanRefused
from tests.distill_worker.fake_teacher import FakeTeacher, describe
from tests.distill_worker.purchases import Samples, order_for


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache.sqlite") as opened:
        yield opened


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions, each of which is answered with yes on a terminal."""
    questions: list[str] = []
    monkeypatch.setattr(agreed_purchase, "is_terminal", lambda: True)
    monkeypatch.setattr(agreed_purchase, "_ask", lambda question, _spent: questions.append(question))
    return questions


def _agree(made: Plan, consent: Consent) -> bool:
    return agreed_purchase.agree(made, consent, source=None, is_counted=True)


def test_plan_without_a_call_allows_none_though_others_leave_some(
    cache: Cache, samples: Samples, asked: list[str], tmp_path: Path
) -> None:
    """All samples were in flight at another worker, whose requests were then rejected: no user said yes to them."""
    teacher = FakeTeacher()
    with Cache(tmp_path / "cache.sqlite") as theirs, theirs.buying() as other, cache.buying() as buyer:
        claims = claims_on(theirs, describe(), ("logits",), list(samples), payer="alice", request_size=4)
        begun = theirs.claim(claims, other, 3)
        order = order_for(teacher, cache, samples)
        made = plan(order)
        assert (made.most_calls, made.price) == (0, None)
        bound = _agree(made, Consent())

        def reject(_: float) -> None:
            while begun:
                theirs.void(begun.pop())

        with pytest.raises(PlanRefused, match="not sent: 12 samples"):
            fetch(order, made, samples, buyer=buyer, bound=bound, sleep=reject)
    assert (teacher.paid, asked) == (0, [])


def test_later_rounds_are_agreed_to_by_an_answered_question_alone(
    cache: Cache, samples: Samples, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer covers as many calls as the question named, in all later rounds together."""
    first = replace(plan(order_for(FakeTeacher(), cache, samples)), later=20)
    idle = replace(first, to_buy=(), cached=12)
    consent = Consent()
    assert _agree(idle, consent)
    consent = consent.after(idle, 0, is_counted=True)
    assert (consent.later, asked) == (0, [])

    assert _agree(first, consent)
    consent = consent.after(first, 12, is_counted=True)
    assert (consent.later, asked) == (20, ["spend 12 calls now, and up to 20 more in later rounds?"])

    assert _agree(replace(first, later=8), consent), "no more than this plan may be spent"
    consent = consent.after(replace(first, later=8), 12, is_counted=True)
    assert (consent.later, len(asked)) == (8, 1)
    _agree(replace(first, later=0), consent)
    assert asked[1:] == ["spend 12 calls?"], "12 are more than the 8 that are left"

    monkeypatch.setattr(agreed_purchase, "is_terminal", lambda: False)
    assert not _agree(first, Consent()), "without a price and a terminal no question is needed"
    assert Consent().after(first, 12, is_counted=True).later == 0
    assert Consent(yes=True).after(first, 12, is_counted=True).later == 0


def test_plan_without_a_call_is_not_bound_where_no_consent_is_needed(cache: Cache, samples: Samples) -> None:
    """Unattended workers on a teacher without a price buy what others leave."""
    made = replace(plan(order_for(FakeTeacher(), cache, samples)), to_buy=())
    assert made.most_calls == 0
    assert not _agree(made, Consent())
    assert not _agree(made, Consent(yes=True))
    assert _agree(replace(made, price_per_call=0.25), Consent())
