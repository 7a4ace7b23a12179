"""The charts of the pages, one module a subject."""
