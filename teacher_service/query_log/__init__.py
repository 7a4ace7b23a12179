"""The query log: read by pages, exported, and verified entry by entry."""
