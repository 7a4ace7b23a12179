"""What to buy, from which teacher and on which terms: one value, which planning, buying and giving up all take."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distill_worker.cache import Cache, Claims
from distill_worker.teachers.base import Description, Teacher

Images = NDArray[np.uint8]

Abandoned = Literal["other-keys", "all"]
"""The open purchases to give up: those of other API keys; or all, even those that this key could repeat for free."""


@dataclass(frozen=True)
class PurchaseOrder:
    """One purchase: made once from the configuration, and carried through every step."""

    teacher: Teacher
    description: Description
    """The teacher's description of itself."""
    cache: Cache
    """The store that outputs are bought into."""
    samples: Mapping[bytes, Images]
    """All samples that are wanted: images by sample key."""
    kinds: tuple[str, ...] = ("logits",)
    """The kinds of output that one call buys of each sample; stored sorted."""
    request_size: int = 1
    """Samples in a request, at most; stored no larger than the teacher allows."""
    concurrency: int = 1
    """Requests in flight at once, at most."""
    max_calls: int | None = None
    """The most samples to send, for the first time or again; None: as many as are missing."""
    abandon: Abandoned | None = None
    """The open purchases to give up: their samples are bought anew."""
    price_per_call: float | None = None
    currency: str = "USD"
    former_payers: frozenset[str] = frozenset()
    """Names under which open purchases of the teacher's account are recorded, beside its payer and its credential."""
    other_caches: tuple[Path, ...] = ()
    """Caches at places that earlier versions used, which may hold some of the samples."""

    def __post_init__(self) -> None:
        largest = self.description.max_request_size or self.request_size
        object.__setattr__(self, "kinds", tuple(sorted(set(self.kinds))))
        object.__setattr__(self, "request_size", min(self.request_size, largest))

    @property
    def first_request_size(self) -> int:
        """Samples of the first new request: one, if the description leaves open whether the answers will fit."""
        return self.request_size if self.description.is_complete else 1

    def requests_for(self, samples: int) -> int:
        """New requests for so many samples."""
        return ceil((samples - self.first_request_size) / self.request_size) + 1 if samples else 0

    def claims(
        self,
        wanted: Sequence[bytes] | None = None,
        *,
        most_calls: int | None = None,
        given_up: Collection[int] = (),
        answers_read: int = 0,
    ) -> Claims:
        """Claims on the samples with these keys, by default on all that are wanted."""
        return claims_on(
            self.cache,
            self.description,
            self.kinds,
            tuple(self.samples) if wanted is None else wanted,
            payer=self.teacher.payer,
            former_payers=self.former_payers | {self.teacher.credential},
            request_size=self.request_size,
            first_request_size=self.first_request_size,
            most_calls=most_calls,
            given_up=given_up,
            answers_read=answers_read,
        )

    def given_up(self) -> frozenset[int]:
        """The ids of the purchases that `abandon` names. Those of running workers are not among them."""
        if self.abandon is None:
            return frozenset()
        claims, is_all = self.claims(), self.abandon == "all"
        held = [self.cache.holdings(stream_id) for stream_id in claims.stream_ids]
        abandonable = self.cache.abandonable(self.description.id, source=self.description.source)
        return frozenset(
            purchase.id
            for purchase in abandonable
            if (is_all or not (claims.is_own(purchase) or purchase.is_unread)) and claims.brought_by(purchase, held)
        )


def claims_on(
    cache: Cache,
    description: Description,
    kinds: Sequence[str],
    wanted: Sequence[bytes],
    *,
    payer: str,
    former_payers: Collection[str] = (),
    request_size: int,
    first_request_size: int | None = None,
    most_calls: int | None = None,
    given_up: Collection[int] = (),
    answers_read: int = 0,
) -> Claims:
    """Claims on these kinds of output of the samples with these keys, from the described teacher."""
    return Claims(
        description.id,
        cache.order(description.id, kinds),
        [(kind, cache.stream(description.id, kind)) for kind in kinds],
        payer=payer,
        former_payers=former_payers,
        wanted=wanted,
        request_size=request_size,
        first_request_size=first_request_size,
        most_calls=most_calls,
        repeats_are_free=description.repeats_are_free,
        source=description.source,
        given_up=given_up,
        answers_read=answers_read,
    )
