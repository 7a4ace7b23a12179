"""Buying: the plan that says the price, the purchase itself, and reconciliation with the teacher's log."""
