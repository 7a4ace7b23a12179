"""Pure values: quota, rate limit, terms of a key, output policy. No module of this room reads a database or a clock."""
