"""Tests of what a comparison prints."""
