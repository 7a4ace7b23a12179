"""Tests of what a training does with the network itself."""
