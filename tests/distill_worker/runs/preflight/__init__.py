"""Tests of `distill_worker.runs.preflight`."""
