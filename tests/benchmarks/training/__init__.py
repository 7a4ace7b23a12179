"""Tests of what measures training."""
