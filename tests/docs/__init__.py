"""Tests of the documents: generated parts, links, commands, and the site."""
