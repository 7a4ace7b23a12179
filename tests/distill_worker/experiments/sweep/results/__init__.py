"""Tests of sweeps: their grid, the ids of their students, and their directory."""
