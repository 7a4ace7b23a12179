"""Tests of `distill_worker.config.stages`."""
