"""The results of a comparison: means, paired tests, and tables."""
