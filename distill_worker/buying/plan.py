"""The plan of a purchase: what it would cost, and what must hold before it is carried out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final

from distill_worker.buying.kept_answers import why_blocked, why_unanswered
from distill_worker.buying.other_teachers import HeldOfAnother
from distill_worker.cache import Purchase
from distill_worker.errors import PlanRefused, counted
from distill_worker.teachers.base import Quota

LOWER_N: Final = "lower n"


@dataclass(frozen=True)
class Advice:
    """What the error of a small quota says, which depends on the configuration and the command."""

    setting: str = "budget.n"
    """The setting that says how many samples are wanted."""
    lower: str = LOWER_N
    """How to want less; empty if that is too late."""
    is_nested: bool = False
    """Whether a lower n wants a part of the same samples, so that each sample less is a call less."""
    part_is_usable: bool = False
    """Whether `train --held` can train on a part of the samples."""
    has_max_calls: bool = True
    """Whether the command has the option --max-calls."""
    enlarge: str = "get a larger quota"
    spent: str = "Nothing was spent"


@dataclass(frozen=True)
class Plan:
    """What a purchase would cost, in samples (one call each)."""

    teacher_id: str
    kinds: tuple[str, ...]
    """The kinds of output that one call buys of each sample."""
    samples: tuple[bytes, ...]
    """The keys of all samples that are wanted."""
    cached: int
    """Samples whose outputs are in the cache."""
    reopened: tuple[Purchase, ...]
    """Purchases that were begun earlier and have no known result. Repeating one that was charged costs nothing."""
    elsewhere: int
    """Samples that another worker is buying into the same cache now."""
    uncertain: int
    """Samples of earlier purchases that may have been charged and would be charged again: they are not bought."""
    to_buy: tuple[bytes, ...]
    """The keys of the samples to send for the first time, or again for kinds that are not in the cache."""
    left_out: int
    """Samples that are not bought because of `max_calls`."""
    again: int
    """Samples of `to_buy` that are paid for again: some of their kinds are in the cache or in an open purchase, or were
    in one that is given up, and one call buys all kinds."""
    request_size: int
    """Samples in a request that is sent for the first time."""
    new_requests: int
    """Requests to send for the first time."""
    quota: Quota | None
    max_calls: int | None = None
    """The most samples to send, for the first time or again."""
    price_per_call: float | None = None
    currency: str = "USD"
    unread: Mapping[str, int] = field(default_factory=dict)
    """Samples whose answers were paid and cannot be read, by the reason; their answers are kept."""
    blocked: frozenset[bytes] = frozenset()
    """The keys of the samples of `unread` whose requests cannot be repeated for free: they are not bought."""
    is_unanswered: bool = False
    """Whether some samples are uncertain, and no request to this teacher was ever answered."""
    sends: str = ""
    """What is sent of an image, in words, if it is not the pixels alone."""
    held_of_others: tuple[HeldOfAnother, ...] = ()
    """Samples of `to_buy` that were bought from other teachers."""
    answers_read: int = 0
    """The id of the last kept answer that was read again for this plan."""
    given_up: frozenset[int] = frozenset()
    """The ids of the purchases to give up: each becomes void when its samples are bought anew, so not if `max_calls`
    leaves some out."""
    advice: Advice = Advice()
    later: int = 0
    """Samples that later rounds will select, and buy unless they are cached."""

    @property
    def may_be_held(self) -> bool:
        """Whether some of `to_buy` may be bought already, under another name of the teacher or in another cache."""
        return any(other.may_be_the_same for other in self.held_of_others)

    @property
    def wanted(self) -> int:
        """Samples that are wanted."""
        return len(self.samples)

    @property
    def requests(self) -> int:
        """Requests to send."""
        return len(self.reopened) + self.new_requests

    @property
    def reopened_samples(self) -> int:
        """Samples in the open purchases."""
        return sum(len(purchase.sample_keys) for purchase in self.reopened)

    @property
    def outstanding(self) -> int:
        """Samples to send, for the first time or again."""
        return len(self.to_buy) + self.reopened_samples

    @property
    def shortfall(self) -> int:
        """Calls that the quota certainly lacks; 0 if it suffices or is unknown."""
        return max(0, len(self.to_buy) - self.quota.remaining) if self.quota else 0

    @property
    def most_calls(self) -> int:
        """The most samples that may be charged; open purchases may have been charged already."""
        return self.outstanding if self.max_calls is None else min(self.outstanding, self.max_calls)

    @property
    def price(self) -> float | None:
        """The highest cost, in `currency`; None if no price is configured."""
        return self.price_of(self.most_calls)

    @property
    def seconds(self) -> float | None:
        """The shortest time at the allowed rate, in seconds; None if the rate is unknown."""
        return None if self.quota is None else self.quota.seconds_for(len(self.to_buy), self.requests)

    def seconds_left(self, done: int, took: float) -> float:
        """The time for the rest, in seconds, after `done` samples took `took` seconds.

        A burst that the rate limit allows goes fast, so with a rate limit the pace so far is too optimistic.
        """
        left = self.outstanding - done
        return max(left * took / max(done, 1), (self.seconds or 0.0) - took) if left > 0 else 0.0

    def price_of(self, calls: int) -> float | None:
        """The cost of so many calls, in `currency`; None if no price is configured."""
        return None if self.price_per_call is None else round(calls * self.price_per_call, 9)

    def facts(self) -> dict[str, Any]:
        """The plan as a JSON-able dictionary."""
        quota = self.quota
        return {
            "teacher_id": self.teacher_id,
            "kinds": list(self.kinds),
            "wanted": self.wanted,
            "cached": self.cached,
            "begun_earlier": self.reopened_samples,
            "bought_elsewhere": self.elsewhere,
            "uncertain": self.uncertain,
            "unread": dict(self.unread),
            "sends": self.sends,
            "to_buy": len(self.to_buy),
            "left_out": self.left_out,
            "most_calls": self.most_calls,
            "paid_again": self.again,
            "requests": self.requests,
            "remaining": quota.remaining if quota else None,
            "limit": quota.limit if quota else None,
            "key_name": quota.key_name if quota else None,
            "affordable": self.shortfall == 0,
            "price": self.price,
            "currency": None if self.price is None else self.currency,
            "seconds_at_allowed_rate": self.seconds,
            "held_of_others": [vars(other) for other in self.held_of_others],
        }

    def check_answers(self) -> None:
        """Raise `PlanRefused` if no answer can be read, or none came, and the requests cannot be repeated for free.

        If others of these samples have readable answers, those that have none are left out while there is more to buy.
        """
        if self.blocked and not (self.cached and self.to_buy):
            raise PlanRefused(why_blocked(len(self.blocked), self.unread))
        if self.is_unanswered and self.to_buy:
            raise PlanRefused(why_unanswered(self.uncertain))

    def check_quota(self) -> None:
        """Raise `PlanRefused` if the quota is too small."""
        if self.quota is not None and self.shortfall:
            calls = counted(len(self.to_buy), "call")
            samples = f"{counted(self.wanted, 'sample')} wanted, {self.cached} in the cache"
            missing = self.shortfall + self.left_out + self.later
            raise PlanRefused(self._why_short(self.quota, f"{calls} ({samples})", missing))

    def check_rounds(self) -> None:
        """Raise `PlanRefused` if the quota pays for this round, but not for the later ones, as far as they may buy."""
        calls = len(self.to_buy) + self.left_out + self.later
        if self.max_calls is not None:
            calls = min(calls, max(0, self.max_calls - self.reopened_samples))
        if self.later and self.quota is not None and not self.shortfall and calls > self.quota.remaining:
            rounds = f"{counted(calls, 'call')} in this and later rounds"
            raise PlanRefused(self._why_short(self.quota, rounds, calls - self.quota.remaining))

    def check(self) -> None:
        """Raise `PlanRefused` if paid answers cannot be read, or the quota is too small."""
        self.check_answers()
        self.check_quota()

    def check_limit(self) -> None:
        """Raise `PlanRefused` if `max_calls` allows none of the open purchases, which are repeated first."""
        if self.max_calls is None or not self.reopened:
            return
        smallest = min(len(purchase.sample_keys) for purchase in self.reopened)
        if self.max_calls < smallest:
            raise PlanRefused(
                f"--max-calls: expected at least {smallest}, the samples of an open purchase, which is repeated before "
                f"other samples are bought, got {self.max_calls}. Nothing was spent. Repeating a purchase that was "
                "charged costs nothing"
            )

    def _why_short(self, quota: Quota, calls: str, missing: int) -> str:
        return (
            f"{self.advice.setting}: expected a quota for {calls}, got {quota.remaining} of "
            f"{counted(quota.limit, 'call')} left. {self.advice.spent}. {self._remedies(quota, missing)}"
        )

    def _remedies(self, quota: Quota, missing: int) -> str:
        advice = self.advice
        part = self.reopened_samples or quota.remaining  # open purchases are repeated first, most likely for free
        is_new = not self.cached and not self.reopened
        number = f" by {missing}" if advice.lower == LOWER_N and (advice.is_nested or is_new) else ""
        remedies = [f"{advice.lower}{number}"] if advice.lower else []
        note = ""
        if advice.part_is_usable and part and part + self.cached > 1:
            remedies.append(f"buy a part with --max-calls {part} and train on it with train --held")
        elif advice.part_is_usable and self.cached > 1:
            remedies.append(f"train on the {self.cached} samples in the cache with train --held")
        elif advice.has_max_calls and part:
            note = f"; --max-calls {part} buys a part, which needs the rest to be trained on"
        remedies.append(advice.enlarge)
        text = ", or ".join([", ".join(remedies[:-1]), remedies[-1]]) if remedies[:-1] else remedies[-1]
        return text[0].upper() + text[1:] + note


def total(plans: Sequence[Plan]) -> Plan:
    """The plan of one purchase or more, of different samples and kinds of output, from one teacher."""
    if len(plans) == 1:
        return plans[0]
    reopened = {purchase.id: purchase for plan in plans for purchase in plan.reopened}
    return replace(
        plans[0],
        kinds=tuple(sorted({kind for plan in plans for kind in plan.kinds})),
        samples=tuple(chain.from_iterable(plan.samples for plan in plans)),
        cached=sum(plan.cached for plan in plans),
        reopened=tuple(reopened.values()),
        elsewhere=sum(plan.elsewhere for plan in plans),
        uncertain=sum(plan.uncertain for plan in plans),
        unread=sum((Counter(plan.unread) for plan in plans), Counter()),
        blocked=frozenset(chain.from_iterable(plan.blocked for plan in plans)),
        is_unanswered=any(plan.is_unanswered for plan in plans),
        to_buy=tuple(chain.from_iterable(plan.to_buy for plan in plans)),
        left_out=sum(plan.left_out for plan in plans),
        again=sum(plan.again for plan in plans),
        new_requests=sum(plan.new_requests for plan in plans),
        quota=next((plan.quota for plan in plans if plan.quota is not None), None),
        held_of_others=tuple(chain.from_iterable(plan.held_of_others for plan in plans)),
        given_up=frozenset(chain.from_iterable(plan.given_up for plan in plans)),
    )
