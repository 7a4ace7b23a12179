"""The store of bought outputs, and of the purchases that paid for them. See `store` first."""

from distill_worker.cache.claims import Claims
from distill_worker.cache.purchases import Purchase, PurchaseRecord
from distill_worker.cache.raw_answers import RawAnswer
from distill_worker.cache.store import Cache

__all__ = ["Cache", "Claims", "Purchase", "PurchaseRecord", "RawAnswer"]
