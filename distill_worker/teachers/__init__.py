"""Clients of teachers, one for each protocol, and how they send requests."""
