"""Tests of the room `buying/reconciliation`."""
