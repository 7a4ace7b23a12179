"""Encoded pictures, and the store in which the user's own files are decoded once."""
