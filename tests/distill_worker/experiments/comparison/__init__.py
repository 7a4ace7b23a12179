"""Tests of a comparison: its file, its cells, and its one purchase."""
