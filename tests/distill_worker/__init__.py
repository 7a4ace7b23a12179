"""Tests of distill_worker."""
