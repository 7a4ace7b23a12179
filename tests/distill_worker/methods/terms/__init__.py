"""Tests of `distill_worker.methods.terms`."""
