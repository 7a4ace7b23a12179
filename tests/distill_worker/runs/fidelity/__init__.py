"""Tests of the fidelity of a run's student."""
