"""Tests that run on a GPU and, as their twins, on the CPU: `make check-gpu`."""
