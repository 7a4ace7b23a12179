"""The results of a sweep out of its directory: the tidy table, the answer in words, and all facts of its page."""
