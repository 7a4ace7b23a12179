"""The configuration of a run, and how its TOML file is read."""
