"""Tests of `distill_worker.cache.database`."""
