"""A comparison of many methods: its file, its one purchase, its students, and how it is run."""
