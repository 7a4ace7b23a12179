"""Tests of `distill_worker.data`."""
