"""Tests of `distill_worker.cli.doctor`."""
