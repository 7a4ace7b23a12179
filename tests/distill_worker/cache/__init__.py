"""Tests of the store of bought outputs."""
