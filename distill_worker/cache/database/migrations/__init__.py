"""The versions of the cache's tables, as Alembic runs them. They import nothing of ours, so that they never change."""
