"""The ledger's tables, the SQL engine that they live in, and their migrations."""
