"""Tests of `distill_worker.cache.exchange`."""
