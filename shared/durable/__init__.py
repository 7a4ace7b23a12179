"""State that survives the end of its process: one SQL engine and one process lock, for the ledger and for the cache."""
