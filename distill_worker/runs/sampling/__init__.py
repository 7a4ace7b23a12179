"""The samples that a run may buy, those that it buys, and how they are written down."""
