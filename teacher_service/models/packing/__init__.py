"""Making a file that describes itself from a model that somebody trained elsewhere."""
