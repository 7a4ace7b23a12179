"""Tests of what both programs keep on disk."""
