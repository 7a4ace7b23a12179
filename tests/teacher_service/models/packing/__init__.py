"""Tests of packing models that were made elsewhere."""
