"""The store of bought outputs, and of the intentions to buy them."""

from distill_worker.cache.claims import Claims
from distill_worker.cache.records import Purchase, PurchaseRecord
from distill_worker.cache.store import Cache

__all__ = ["Cache", "Claims", "Purchase", "PurchaseRecord"]
