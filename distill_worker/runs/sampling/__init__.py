"""The samples that a run may buy, those that it buys, how they are written down, and their outputs."""
