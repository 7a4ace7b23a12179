"""Pure values: quota, rate limit, terms of a key, output policy. Nothing here reads a database or a clock."""
