"""API keys: their secrets, quotas, grants and terms."""
