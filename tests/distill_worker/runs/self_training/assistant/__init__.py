"""Tests of `distill_worker.runs.self_training.assistant`."""
