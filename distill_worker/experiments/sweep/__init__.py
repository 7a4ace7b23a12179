"""Sweeps: a grid of comparisons, whose students several processes train together; see `docs/sweeps.md`."""
