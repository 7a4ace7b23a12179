"""Analyses of finished students: what they learned, how sure they are, and where they fail. No call is spent."""
