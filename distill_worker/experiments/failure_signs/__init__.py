"""Signs of a failed experiment: each function says what the figures show, what it usually means, and what to do.

It takes plain data and returns sentences, or None below its bound; docs/failure-signs.md lists the bounds.
"""
