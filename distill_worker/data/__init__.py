"""Data sets, the selection of samples to buy, and the preprocessing of images."""
