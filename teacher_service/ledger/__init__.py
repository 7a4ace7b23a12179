"""The ledger: it counts calls. A request's samples are reserved, then charged or released, in SQL transactions."""
