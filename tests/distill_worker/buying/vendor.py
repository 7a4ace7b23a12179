"""A scripted vendor that charges for repeats, and orders from it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from distill_worker.buying.fetch import fetch
from distill_worker.buying.order import PurchaseOrder
from distill_worker.buying.planning import plan
from distill_worker.cache import Cache
from distill_worker.teachers.http_sender import Sender
from tests.distill_worker.purchases import Samples
from tests.distill_worker.teachers.scripted_server import METADATA, URL
from tests.distill_worker.teachers.vendors.clients import labelled_scores

LABELS = {"cat": 0, "dog": 1}
MENDED = LABELS | {"lynx": 2}


class Vendor:
    """Answers each POST with the next of its bodies, the last one for ever, and charges for it."""

    def __init__(self, *bodies: Any, headers: Mapping[str, str] | None = None) -> None:
        self.bodies = list(bodies)
        self.headers = dict(headers or {})
        self.extensions: list[str] = []
        self.keys: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The transport's handler."""
        if request.method == "GET":
            known = {"/v2": {"name": "v", "extensions": self.extensions}, "/v2/models/m": METADATA}
            found = known.get(request.url.path)
            return httpx.Response(404 if found is None else 200, json=found or {})
        self.keys.append(request.headers["Idempotency-Key"])
        body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.Response(200, stream=httpx.ByteStream(content), headers=self.headers)

    @property
    def charged(self) -> int:
        """Requests that were answered."""
        return len(self.keys)

    def sender(self) -> Sender:
        """A client without a protocol."""
        return Sender(
            URL,
            api_key="secret",
            timeout_seconds=5,
            give_up_after_seconds=0,
            transport=httpx.MockTransport(self),
        )


def scores(*pairs: tuple[str, float]) -> list[dict[str, Any]]:
    """An answer of labelled scores."""
    return [{"label": label, "score": score} for label, score in pairs]


GOOD = scores(("cat", 0.75), ("dog", 0.25))
LYNX = scores(("cat", 0.75), ("lynx", 0.25))


@contextmanager
def order_of(
    vendor: Vendor, cache: Cache, samples: Samples, *, labels: Mapping[str, int] = LABELS, **options: Any
) -> Iterator[PurchaseOrder]:
    """An order of these samples from the vendor, under these settings."""
    given: dict[str, Any] = {"top_k": 2, "num_classes": 3, **options}
    with labelled_scores(vendor.sender(), url=URL, model="pets", labels=labels, **given) as teacher:
        description = teacher.describe()
        yield PurchaseOrder(teacher, description, cache, samples, kinds=tuple(description.outputs), concurrency=3)


def buy(order: PurchaseOrder, samples: Samples) -> int:
    """Plan and fetch; the number of samples bought."""
    made = plan(order)
    with order.cache.buying() as buyer:
        return fetch(order, made, samples, buyer=buyer)


def statuses(cache: Cache) -> list[str]:
    """Of all purchases, in their order."""
    return [record.status for record in cache.purchases()]
