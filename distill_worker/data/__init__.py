"""Data sets, the selection of samples to buy, and what happens to images before a network sees them."""
