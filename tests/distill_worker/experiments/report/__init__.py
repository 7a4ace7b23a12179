"""Tests of the pages that runs and comparisons end with."""
