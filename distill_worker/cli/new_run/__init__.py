"""The file of a new run, from a look at the data and what the teacher says of itself."""
