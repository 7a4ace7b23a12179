"""The cache's tables, the SQL engine that they live in, their migrations, and the leases of buyers."""
