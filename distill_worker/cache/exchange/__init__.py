"""Export of bought outputs to a file, and import into another cache."""
