"""Tests of `distill_worker.buying`."""
