"""Tests of `distill_worker.runs.sampling`."""
