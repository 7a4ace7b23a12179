"""The query log: read in pages, exported, and verified entry by entry."""
