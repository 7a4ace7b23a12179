"""Tests of the losses: the oracle is the formula, one comparison at a time."""
