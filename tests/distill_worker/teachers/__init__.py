"""Tests of the teachers that outputs can be bought from."""
