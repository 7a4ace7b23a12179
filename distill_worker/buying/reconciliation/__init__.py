"""Compare what the cache says was bought with what the teacher charged."""
