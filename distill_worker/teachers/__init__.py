"""Teachers that outputs can be bought from."""
