"""Tests of the data sets: small archives in the published formats, read by the code that reads the real ones."""
