"""Buying: the plan with its price, the purchase itself, and reconciliation with the teacher's log."""
