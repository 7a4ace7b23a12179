"""Tests of `distill_worker.training.trackers`."""
