"""Tests of `distill_worker.teachers.pace`."""
