"""Tests of the teacher that an experiment has of its own."""
