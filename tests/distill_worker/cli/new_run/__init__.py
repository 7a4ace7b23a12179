"""Tests of `distill_worker.cli.new_run`."""
