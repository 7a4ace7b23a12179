"""Experiments over many runs: comparisons, the demo, and degraded teachers."""
