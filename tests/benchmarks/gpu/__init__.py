"""Tests of the benchmark of a GPU, with little work on the CPU."""
