"""Measurements; see `figures.py` for where they go."""
