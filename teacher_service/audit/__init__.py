"""Whether the ledger still says what it said."""
