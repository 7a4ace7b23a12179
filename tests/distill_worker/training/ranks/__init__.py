"""Tests of `distill_worker.training.ranks`."""
